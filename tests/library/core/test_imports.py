import grimp


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph("modelyard")
    circular = [
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.chain_exists(imported, module)
    ]
    assert circular == []
