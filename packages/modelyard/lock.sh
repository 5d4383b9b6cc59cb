#!/bin/sh
# Pins all with hashes and names no registry: dev.txt has everything, serve.txt what a model needs, compiled.txt a compiled one.
set -eu
uv=$1 upgrade=${2:-}  # nothing: what is pinned stays
compile() { "$uv" pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links --no-emit-build-options --no-emit-package modelyard "$@"; }
compile pyproject.toml --group dev $upgrade --output-file requirements/dev.txt
compile pyproject.toml --group model --constraints requirements/dev.txt --output-file requirements/serve.txt
[ ! -e Dockerfile ] || compile pyproject.toml --constraints requirements/dev.txt --output-file requirements/compiled.txt
compile --group scan $upgrade --output-file requirements/scan.txt
echo uv | compile - $upgrade --output-file requirements/uv.txt
