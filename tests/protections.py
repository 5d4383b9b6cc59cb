"""Remove each protection of docs/security.md in turn, in a copy of the repository, and see the named test fail.

`python -m tests.protections` removes all of them; `--only N` the one with that number, and `--list` shows the numbers.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECURITY_PAGE = ROOT / "docs/security.md"
TEST_PATTERN = re.compile(r"`((?:library|template|attacks)/[\w/]+\.py::test_\w+)`")
LIBRARY = "packages/modelyard/src/modelyard"
MAKEFILE = "packages/modelyard/project.mk"
PROJECT = "{{cookiecutter.project_slug}}"
WORKFLOWS = f"{PROJECT}/.github/workflows"
MODEL_FILE = f"{LIBRARY}/pipeline/model_file.py"
LINEAGE = f"{LIBRARY}/provenance/lineage.py"
CHAIN = f"{LIBRARY}/delivery/chain.py"
IMAGE_CHECKS = f"{LIBRARY}/delivery/image_checks.py"
RECEIVE = f"{LIBRARY}/workspace/receive.py"
SANITIZE = f"{LIBRARY}/github/sanitize.py"
REQUEST = f"{LIBRARY}/inference/request.py"
APP = f"{LIBRARY}/serving/app.py"
CLIENTS = f"{LIBRARY}/serving/clients.py"
TRANSPORT = f"{LIBRARY}/serving/transport.py"
TEMPLATE = f"{LIBRARY}/workspace/template.py"
HOSTILE_MODELS = "library/pipeline/test_hostile_models.py"
TEST_LINEAGE = "library/provenance/test_lineage.py::test_verify_lineage_names_the_link_that_was_tampered_with"
TEST_MLFLOW = "library/delivery/test_chain_links.py::test_run_that_was_changed_in_mlflow_is_found"
TEST_SANITIZE = "library/github/test_sanitize.py::test_sanitize_removes_what_can_do_harm"
TEST_BAD_REQUEST = "library/serving/test_app.py::test_a_bad_request_gets_a_sentence"
TEST_ESTIMATOR = (
    "attacks/test_estimator_that_runs_code.py::test_a_name_of_something_else_is_one_sentence_and_starts_nothing"
)


@dataclass(frozen=True)
class Removal:
    """A change that takes a protection away, and the test that must notice.

    Parameters
    ----------
    protection
        What is removed, in words.
    file
        The file below the repository.
    text
        What stands in the file, exactly once.
    replacement
        What stands there without the protection.
    test
        The test below `tests`, as docs/security.md writes it, or one case of it.
    """

    protection: str
    file: str
    text: str
    replacement: str
    test: str


REMOVALS = (
    Removal(
        "nothing is unpickled",
        MODEL_FILE,
        "    packed = path.read_bytes()\n    try:\n        reject_foreign_archive(path, packed)\n"
        "        reject_untrusted",
        "    packed = path.read_bytes()\n    if packed[:1] == b'\\x80':\n        import pickle\n\n"
        "        return pickle.loads(packed)\n"
        "    try:\n        reject_foreign_archive(path, packed)\n        reject_untrusted",
        f"{HOSTILE_MODELS}::test_a_malicious_model_is_refused_and_runs_nothing[pickle-4]",
    ),
    Removal(
        "only reviewed types are loaded",
        MODEL_FILE,
        '        reject_untrusted_types(packed, f"{path} is refused")\n'
        "        return skops.io.loads(packed, trusted=sorted(list_trusted_types()))",
        "        return skops.io.loads(packed, trusted=skops.io.get_untrusted_types(data=packed))",
        "library/pipeline/test_preprocessing.py::test_types_that_nobody_reviewed_are_refused",
    ),
    Removal(
        "a model file has only the members that this library writes",
        MODEL_FILE,
        "foreign = [member.filename for member in members if not re.fullmatch(MEMBER_PATTERN, member.filename)]",
        "foreign: list[str] = []",
        f"{HOSTILE_MODELS}::test_a_malicious_model_is_refused_and_runs_nothing[traversal]",
    ),
    Removal(
        "the unpacked size of a model is bounded",
        MODEL_FILE,
        "elif size > MAX_UNPACKED_RATIO * len(packed) + MAX_UNPACKED_EXCESS:",
        "elif size < 0:",
        f"{HOSTILE_MODELS}::test_a_malicious_model_is_refused_and_runs_nothing[bomb-extra]",
    ),
    Removal(
        "the hashes of the training rows are read without pickle",
        f"{LIBRARY}/core/model_at.py",
        "allow_pickle=False",
        "allow_pickle=True",
        f"{HOSTILE_MODELS}::test_pickled_rows_are_refused_and_run_nothing",
    ),
    Removal(
        "a model must have the expected digest",
        MODEL_FILE,
        "if digest and sha256(path) != digest:",
        "if not path:",
        f"{HOSTILE_MODELS}::test_a_swapped_model_is_refused_by_its_digest",
    ),
    Removal(
        "a model from a release must have the promoted digest",
        f"{LIBRARY}/github/release.py",
        "return files if compute_digest(files[MODEL_NAME]) == digest else {}",
        "return files",
        "library/github/test_release.py::test_download_refuses_bytes_that_are_not_the_model",
    ),
    Removal(
        "the signature of a model from a release is verified",
        f"{LIBRARY}/workspace/pull.py",
        "    verify_release(files, digest)\n",
        "",
        "library/workspace/test_pull.py::test_a_model_that_our_key_did_not_sign_is_not_taken",
    ),
    Removal(
        "the metrics of a fresh run are compared",
        CHAIN,
        "    false += find_metric_mismatches(metrics, fresh_metrics, tolerance)\n",
        "",
        "library/delivery/test_chain.py::test_main_rejects_a_false_lock",
    ),
    Removal(
        "dvc.lock is compared with that of a fresh run",
        CHAIN,
        "differences = diff_locks(lock, fresh_lock)",
        "differences = diff_locks(lock, lock)",
        "library/delivery/test_chain.py::test_main_rejects_a_lock_of_other_data",
    ),
    Removal(
        "the commit of a model is on this branch",
        LINEAGE,
        'run_git("merge-base", "--is-ancestor", commit, "HEAD")',
        'run_git("rev-parse", "HEAD")',
        TEST_LINEAGE,
    ),
    Removal(
        "the dvc.lock of a commit is the claimed one",
        LINEAGE,
        'if content is None or hashlib.sha256(content).hexdigest() != claim["dvc_lock"]:',
        "if content is None:",
        TEST_LINEAGE,
    ),
    Removal("the parameters are those of dvc.lock", LINEAGE, "    verify_parameters(commit, lock)\n", "", TEST_LINEAGE),
    Removal("the code is that of dvc.lock", LINEAGE, "    verify_code(commit, lock, data_path)\n", "", TEST_LINEAGE),
    Removal(
        "the data are the claimed ones",
        LINEAGE,
        'if data.get("sha256") != claim["data"]:',
        "if not commit:",
        "library/provenance/test_lineage.py::test_verify_lineage_compares_data_that_are_nowhere_here",
    ),
    Removal(
        "the model is that of dvc.lock",
        LINEAGE,
        '    verify_bytes("model", commit, str(MODEL_FILE),',
        '    (lambda *_: None)("model", commit, str(MODEL_FILE),',
        TEST_LINEAGE,
    ),
    Removal(
        "MLflow's run has this model, data and parameters", CHAIN, "if runs and not agreeing:", "if 0:", TEST_MLFLOW
    ),
    Removal(
        "the run that this folder recorded still says so",
        CHAIN,
        "if recorded and recorded not in {run.info.run_id for run in runs}:",
        "if 0:",
        TEST_MLFLOW,
    ),
    Removal(
        "the history of promotions ends with the champion",
        CHAIN,
        "    if model != last:\n",
        "    if 0:\n",
        "library/delivery/test_chain_links.py::test_champion_that_no_history_names_is_found",
    ),
    Removal(
        "no earlier line of the history changes",
        f"{LIBRARY}/delivery/audit.py",
        "if not kept and not taken_back:",
        "if 0:",
        "library/delivery/test_audit.py::test_rewritten_history_is_a_disagreement",
    ),
    Removal(
        "MLflow's champion is that of git",
        f"{LIBRARY}/delivery/audit.py",
        "if expected[alias] != mirrored[alias]:",
        "if 0:",
        "library/delivery/test_audit.py::test_mlflow_with_another_champion_is_a_disagreement",
    ),
    Removal(
        "a hook looks for secrets",
        f"{PROJECT}/.pre-commit-config.yaml",
        "entry: detect-secrets-hook",
        "entry: check-yaml",
        f"{HOSTILE_MODELS}::test_a_planted_secret_is_found_by_the_hook",
    ),
    Removal(
        "the ruleset is made",
        f"{LIBRARY}/workspace/protect.py",
        "*plan_ruleset(api), ",
        "",
        "library/workspace/test_protect.py::test_main_protects_once_and_writes_the_owners",
    ),
    Removal(
        "only modules of scikit-learn and of the project are imported for an estimator",
        f"{LIBRARY}/pipeline/estimator.py",
        "if not PUBLIC_NAME.fullmatch(name) or not is_estimator_module(module_name):",
        "if not PUBLIC_NAME.fullmatch(name):",
        TEST_ESTIMATOR,
    ),
    Removal(
        "only an estimator is called",
        f"{LIBRARY}/pipeline/estimator.py",
        'if not is_estimator or not (hasattr(found, "predict") or hasattr(found, "transform")):',
        "if found is None:",
        TEST_ESTIMATOR,
    ),
    Removal(
        ".python-version is digits and dots",
        MAKEFILE,
        'in *[!0-9.]*|"")',
        'in "")',
        "attacks/test_python_version_that_is_a_command.py::test_make_refuses_it_with_one_sentence_and_starts_nothing",
    ),
    Removal(
        "a candidate's model is the one that its dvc.lock names",
        RECEIVE,
        "        if md5(path) != hashes[str(path)]:\n",
        "        if 0:\n",
        "attacks/test_candidate_that_is_not_data.py::test_a_model_that_dvc_lock_does_not_name_is_refused",
    ),
    Removal(
        "of a candidate's params.yaml the block train counts",
        RECEIVE,
        '        document["train"].update(block)\n',
        "        document.update(read_yaml(folder / PARAMS_YAML) | {'train': block})\n",
        "attacks/test_candidate_that_is_not_data.py::test_commands_and_rules_in_its_params_never_count",
    ),
    Removal(
        "no job that runs code of a branch takes an identity",
        f"{WORKFLOWS}/reusable-train.yml",
        "  train:\n    name: Train\n    if: ${{ !cancelled() }}\n    needs: data\n    runs-on: ubuntu-latest\n"
        "    timeout-minutes: ${{ inputs.minutes }}\n    permissions:\n",
        "  train:\n    name: Train\n    if: ${{ !cancelled() }}\n    needs: data\n    runs-on: ubuntu-latest\n"
        "    timeout-minutes: ${{ inputs.minutes }}\n    permissions:\n      id-token: write\n",
        "template/test_workflows_static.py::test_an_identity_exists_only_where_nothing_of_a_branch_is_installed",
    ),
    Removal(
        "a mention in a report is broken up",
        SANITIZE,
        'f"@{ZERO_WIDTH_SPACE}"',
        '"@"',
        TEST_SANITIZE,
    ),
    Removal("an image in a report becomes a link", SANITIZE, 'f"!{ZERO_WIDTH_SPACE}"', '"!"', TEST_SANITIZE),
    Removal("foreign HTML in a report is escaped", SANITIZE, '"&lt;"', '"<"', TEST_SANITIZE),
    Removal(
        "a word that closes an issue is broken up",
        SANITIZE,
        '[\\w.-]+/[\\w.-]+#))", rf"\\1{ZERO_WIDTH_SPACE}"',
        '[\\w.-]+/[\\w.-]+#))", r"\\1"',
        TEST_SANITIZE,
    ),
    Removal(
        "a model is judged without the environment of the judge",
        f"{LIBRARY}/gate/scratch.py",
        "env = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}",
        "env = dict(os.environ)",
        "library/gate/test_scratch.py::test_the_environment_holds_no_token_and_no_proxy",
    ),
    Removal(
        "every field of a foreign verdict is checked",
        SANITIZE,
        "if not isinstance(value, str) or not re.fullmatch(pattern, value):",
        "if not isinstance(value, str):",
        "library/github/test_sanitize.py::test_verdict_of_another_shape_is_invalid",
    ),
    Removal(
        "the requirements have an owner",
        f"{PROJECT}/.github/CODEOWNERS",
        "# /requirements/\n",
        "",
        "attacks/test_file_that_a_privileged_job_would_start.py"
        "::test_the_import_closure_of_every_privileged_job_has_an_owner",
    ),
    Removal(
        "src/ is not on the path of the library's commands",
        MAKEFILE,
        "export PYTHONPATH := packages/modelyard/src\n",
        "export PYTHONPATH := src:packages/modelyard/src\n",
        "attacks/test_file_that_a_privileged_job_would_start.py"
        "::test_a_module_in_src_stands_in_for_none_of_pythons_own",
    ),
    Removal(
        "a token has only the rights that its job needs",
        f"{WORKFLOWS}/pull-request.yml",
        "      pull-requests: write # the comment with the report\n",
        "      pull-requests: write # the comment with the report\n      contents: write # nothing\n",
        "template/test_workflows_static.py::test_a_stolen_token_can_do_only_what_its_job_is_for",
    ),
    Removal(
        "actions are pinned by commit",
        f"{WORKFLOWS}/pull-request.yml",
        "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
        "actions/checkout@v7",
        "template/test_workflows_static.py::test_every_action_is_pinned_with_its_version",
    ),
    Removal(
        "zizmor sees a checkout that leaves its token behind",
        f"{WORKFLOWS}/pull-request.yml",
        "persist-credentials: false",
        "fetch-depth: 1",
        "template/test_workflows_static.py::test_zizmor_finds_nothing",
    ),
    Removal(
        "no checkout says that it leaves its token behind, which zizmor lets pass",
        f"{WORKFLOWS}/pull-request.yml",
        "persist-credentials: false",
        "persist-credentials: true",
        "template/test_workflows_static.py::test_checkout_leaves_no_token_behind",
    ),
    Removal(
        "a request that is no JSON is refused",
        REQUEST,
        'except (msgspec.DecodeError, UnicodeDecodeError) as problem:\n        raise RequestError(f"the body',
        'except ZeroDivisionError as problem:\n        raise RequestError(f"the body',
        "library/core/test_fuzz.py::test_a_request_is_typed_or_refused",
    ),
    Removal(
        "a row keeps the rules of schema.yaml",
        REQUEST,
        "            violations.append(failed)\n",
        "            violations.append(failed)\n            continue\n",
        "library/serving/test_row_checks.py::test_a_row_that_breaks_a_rule_is_refused_with_its_field",
    ),
    Removal(
        "an internal error shows no details",
        APP,
        '        except Exception:\n            logging.exception("a request failed")\n            status = 500\n'
        '            error = {"error": "the service failed; its log says why"}\n',
        '        except Exception as problem:\n            status = 500\n            error = {"error": str(problem)}\n',
        "library/serving/test_app.py::test_a_failure_is_500_without_details",
    ),
    Removal("the bytes of a body are counted", APP, "if len(body) > max_bytes:", "if 0:", TEST_BAD_REQUEST),
    Removal(
        "the stated length of a body is bounded",
        APP,
        'if int(headers.get(b"content-length", b"0")) > max_bytes:',
        "if 0:",
        TEST_BAD_REQUEST,
    ),
    Removal(
        "a body must come in time",
        APP,
        "asyncio.timeout(self.rules.seconds)",
        "asyncio.timeout(None)",
        TEST_BAD_REQUEST,
    ),
    Removal(
        "too many requests at once are shed",
        APP,
        "if self.active_requests >= self.rules.requests:",
        "if 0:",
        "library/serving/test_app.py::test_a_flood_is_shed_and_nothing_is_lost",
    ),
    Removal(
        "a request needs a key",
        CLIENTS,
        'if scheme.lower() != b"bearer" or not names:\n            return None\n',
        "if not names:\n            return OPEN_CLIENT\n",
        "library/serving/test_app.py::test_only_requests_with_a_key_are_answered",
    ),
    Removal(
        "every key is compared",
        CLIENTS,
        "[name for name, known in self.digests.items() if hmac.compare_digest(digest, known)]",
        "list(next(([name] for name, known in self.digests.items() if hmac.compare_digest(digest, known)), []))",
        "library/serving/test_clients.py::test_find_client_compares_with_every_key",
    ),
    Removal(
        "feedback comes from the key that asked",
        APP,
        "if not may_give_feedback(client, truth.id):",
        "if 0:",
        "library/serving/test_app.py::test_feedback_is_taken_from_the_key_that_asked",
    ),
    Removal(
        "the first truth counts",
        f"{LIBRARY}/monitoring/log_reader.py",
        'first = rows.drop_duplicates("hash", keep="first")',
        'first = rows.drop_duplicates("hash", keep="last")',
        "library/monitoring/test_log_reader.py::test_label_sample_keeps_the_first_truth",
    ),
    Removal(
        "contradicted labels are counted",
        f"{LIBRARY}/monitoring/log_reader.py",
        'is_contradicted=first["hash"].isin(rows.loc[differs, "hash"])',
        "is_contradicted=False",
        "library/monitoring/test_run.py::test_main_first_truth_wins_and_contradictions_are_shown",
    ),
    Removal(
        "the headers of a request are bounded",
        TRANSPORT,
        "if self.head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:",
        "if 0:",
        "library/serving/test_transport.py::test_a_head_without_end_is_refused",
    ),
    Removal(
        "headers must come in time",
        TRANSPORT,
        "self.loop.call_later(self.seconds, self.end_slow_connection)",
        "self.loop.call_later(3600, self.end_slow_connection)",
        "library/serving/test_transport.py::test_a_head_that_does_not_come_ends_the_connection",
    ),
    Removal(
        "X-Shadow of a client is ignored",
        APP,
        'if not (self.is_internal and b"x-shadow" in headers):',
        'if b"x-shadow" not in headers:',
        "library/serving/test_app.py::test_a_client_cannot_be_answered_without_a_line_in_the_log",
    ),
    Removal(
        "the length of a truth is bounded",
        APP,
        "Annotated[str, msgspec.Meta(max_length=MAX_TRUTH_CHARACTERS)]",
        "str",
        "library/serving/test_app.py::test_a_long_truth_is_refused",
    ),
    Removal(
        "a key's feedback has its share of the files",
        APP,
        "if not log.has_room(size * len(truths)):",
        "if 0:",
        "library/serving/test_app.py::test_a_flood_of_feedback_takes_no_other_keys_room_and_deletes_nothing",
    ),
    Removal(
        "the size of a log file is bounded",
        f"{LIBRARY}/serving/prediction_log.py",
        "            if total > self.max_bytes:\n",
        "            if 0:\n",
        "library/serving/test_prediction_log.py::test_no_file_exceeds_its_size",
    ),
    Removal(
        "personal columns are not logged",
        REQUEST,
        "if value is not msgspec.UNSET and column.name not in self.personal:",
        "if value is not msgspec.UNSET:",
        "library/serving/test_app.py::test_personal_columns_are_in_no_log_and_in_no_example",
    ),
    Removal(
        "the chain of an image holds",
        IMAGE_CHECKS,
        "    verify_lineage(claim, strict=False)\n",
        "",
        "library/delivery/test_image_checks.py::test_image_whose_chain_does_not_hold_is_refused",
    ),
    Removal(
        "a signature that does not hold is refused",
        f"{LIBRARY}/provenance/signing.py",
        "if done.returncode:",
        "if 0:",
        "library/delivery/test_image_checks.py::test_signature_of_an_image_must_hold",
    ),
    Removal(
        "the signature of an image is verified before it is deployed",
        IMAGE_CHECKS,
        '    verify_signature(image, "deploy.signed", rules.signed, image=image)\n',
        "",
        "library/delivery/test_image_checks.py::test_no_image_is_deployed_without_its_signature",
    ),
    Removal(
        "the origin of an image is verified before it is deployed",
        IMAGE_CHECKS,
        "    if rules.repository:\n",
        "    if 0:\n",
        "library/delivery/test_image_checks.py::test_no_image_of_another_origin_or_model_is_deployed",
    ),
    Removal(
        "the model in the label of an image is the chosen one",
        IMAGE_CHECKS,
        '    if labels.get("model") != model:\n',
        "    if 0:\n",
        "library/delivery/test_image_checks.py::test_no_image_of_another_origin_or_model_is_deployed",
    ),
    Removal(
        "the model in an image must be signed",
        IMAGE_CHECKS,
        '        verify_signature(f"the model {model[:12]}", "release.signed", command,',
        '        verify_signature(f"the model {model[:12]}", "release.signed", [],',
        "library/delivery/test_image_checks.py::test_model_that_our_key_did_not_sign_is_refused",
    ),
    Removal(
        "an image is compared with its dvc.lock",
        f"{LIBRARY}/inference/prepare.py",
        "        verify_bundle(bundle)\n",
        "",
        "library/provenance/test_lineage.py::test_an_image_that_was_tampered_with_does_not_start",
    ),
    Removal(
        "a service compares its predictions with the pipeline's",
        APP,
        "if not difference <= TOLERANCE:",
        "if 0:",
        "library/serving/test_app.py::test_other_predictions_than_the_pipelines_refuse_to_start",
    ),
    Removal(
        "the example rows in an image have invented values",
        f"{LIBRARY}/inference/example_rows.py",
        "select_evenly(holdout.assign(**synthetic), EXAMPLE_ROWS)",
        "select_evenly(holdout, EXAMPLE_ROWS)",
        "library/inference/test_example_rows.py::test_no_value_of_a_personal_column_is_in_the_bundle",
    ),
    Removal(
        "DVC's pickles lie where nobody else may write",
        MAKEFILE,
        "mkdir -p -m 700 .dvc/tmp/own",
        "mkdir -p -m 777 .dvc/tmp/own",
        "library/core/test_makefile.py::test_dvcs_pickles_lie_in_the_project_and_for_nobody_else",
    ),
    Removal(
        "a report shows no value of a personal column",
        f"{LIBRARY}/data/schema.py",
        'cases["failure_case"].mask(is_personal, "(personal)")',
        'cases["failure_case"]',
        "library/pipeline/test_validate.py::test_a_personal_column_shows_no_value",
    ),
    Removal(
        "a new address of the template is asked for",
        TEMPLATE,
        "if self.address in accepted:",
        "if self.address:",
        "library/workspace/test_template.py::test_address_that_changed_is_asked_for_whatever_the_file_says_of_it",
    ),
    Removal(
        "a commit beside the template's default branch is asked for",
        TEMPLATE,
        'if not run_process(["git", "merge-base", "--is-ancestor", commit, DEFAULT_BRANCH], cwd=template).returncode:',
        "if template:",
        "library/workspace/test_update.py::test_main_runs_no_hook_of_a_commit_beside_the_default_branch",
    ),
    Removal(
        "answers that cookiecutter would run are refused",
        TEMPLATE,
        "if any(EXPRESSION_PATTERN.search(answer) for answer in list_given_answers(state.answers)):",
        "if 0:",
        "library/workspace/test_template.py::test_load_refuses_a_template_that_is_not_known",
    ),
    Removal(
        "a model's code opens no socket while the gate judges",
        f"{LIBRARY}/gate/confine.py",
        "return bool(ctypes.CDLL(None).prctl(SET_SECCOMP, FILTER_MODE, ctypes.byref(program), 0, 0) == 0)",
        "return True",
        "library/gate/test_scratch.py::test_a_local_socket_cannot_be_reached",
    ),
    Removal(
        "a verdict is posted only with the digest that the judge told",
        f"{LIBRARY}/github/post.py",
        "if self.digest:\n            verify_digest(",
        "if 0:\n            verify_digest(",
        "library/github/test_post.py::test_a_verdict_that_was_exchanged_after_it_was_told_is_not_posted",
    ),
    Removal(
        "a pull request that is aimed at main later is judged again",
        f"{WORKFLOWS}/pull-request.yml",
        "synchronize, edited]",
        "synchronize]",
        "template/test_workflows_static.py::test_a_pull_request_that_is_aimed_at_main_later_is_judged_again",
    ),
    Removal(
        "pins that were not audited are counted",
        "packages/modelyard/audit.py",
        'unaudited = [pin for pin in pins if not isinstance(pin.get("vulns"), list)]',
        "unaudited: list[dict[str, Any]] = []",
        "library/workspace/test_audit.py::test_pins_that_could_not_be_audited_are_counted_and_fail",
    ),
    Removal(
        "the tracking server's passwords are its owner's alone",
        "tracking/{{cookiecutter.folder}}/Makefile",
        "@chmod 600 .env",
        "@chmod 644 .env",
        "template/test_tracking.py::test_passwords_are_the_owners_alone_and_in_no_record_of_answers",
    ),
)
# Named by docs/security.md, and run by `make test-slow` or `make test-containers` only: no fast test can notice.
SLOW = frozenset(
    {
        "attacks/test_base_that_cannot_judge.py::test_a_base_with_invalid_rules_is_not_replaced_by_the_branch",
        "attacks/test_branch_that_forges_its_verdict.py::test_a_retrain_proposes_no_rule_that_its_training_wrote",
        "attacks/test_branch_that_forges_its_verdict.py::test_a_worse_model_that_forges_its_verdict_may_not_be_merged",
        "attacks/test_changed_library.py::test_defaults_and_statistics_are_the_bases",
        "attacks/test_features_that_look_up_the_truth.py::test_the_raw_data_is_out_of_reach",
        "attacks/test_forged_predictions.py::test_a_weak_model_with_forged_predictions_is_blocked",
        "attacks/test_poisoned_cache.py::test_a_champion_is_not_trained_again_on_data_that_the_cache_lies_about",
        "attacks/test_poisoned_cache.py::test_a_weak_champion_from_the_cache_is_not_believed",
        "attacks/test_renamed_target.py::test_another_target_is_said_first_and_blocks",
        "attacks/test_shadowing_modules.py::test_a_committed_environment_is_refused",
        "attacks/test_shadowing_modules.py::test_no_module_of_the_branch_is_imported_by_a_verb",
        "attacks/test_shadowing_modules.py::test_the_branchs_own_package_is_not_imported_by_the_judge",
        "template/test_containers.py::test_a_candidate_writes_its_own_log_and_the_champion_shows_it",
        "template/test_containers.py::test_running_containers_are_confined_and_limited",
        "template/test_containers.py::test_the_image_is_small_and_unprivileged",
        "template/test_containers.py::test_the_proxy_hides_all_but_the_public_paths",
        "template/test_workflows.py::test_every_right_to_write_was_needed_by_a_call",
        "template/test_workflows.py::test_fork_is_judged_without_a_comment_a_secret_or_a_token",
        "template/test_workflows.py::test_only_the_posting_job_writes_and_branch_code_sees_no_token",
        "template/test_workflows.py::test_scan_finds_a_vulnerable_library_and_says_which",
    }
)
# Fast, but without a patch yet: the few tables that it draws in CI may not hold one that a certain refusal is for.
WITHOUT_PATCH = frozenset({"library/core/test_fuzz.py::test_a_table_is_adopted_or_refused"})


def list_named_tests() -> set[str]:
    """Return the tests that docs/security.md names."""
    return set(TEST_PATTERN.findall(SECURITY_PAGE.read_text(encoding="utf-8")))


def strip_case(test: str) -> str:
    """Return the name of a test without the case that it is run for."""
    return test.partition("[")[0]


def has_test(test: str) -> bool:
    """Return whether a file below `tests` defines a test."""
    file, _, name = strip_case(test).partition("::")
    path = ROOT / "tests" / file
    return path.is_file() and f"def {name}(" in path.read_text(encoding="utf-8")


def copy_repository(folder: Path) -> None:
    """Copy what git has or would take of this repository into a folder, as a repository of its own."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    person = ["-c", "user.name=A Person", "-c", "user.email=person@example.org"]
    for words in (["init", "--quiet"], ["add", "--all"], [*person, "commit", "--quiet", "--message", "Copy"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


@contextmanager
def removed(folder: Path, removal: Removal) -> Iterator[None]:
    """Take a protection out of a copy of the repository, and put it back afterwards."""
    path = folder / removal.file
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace(removal.text, removal.replacement), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def run_test(folder: Path, *tests: str) -> tuple[int, str]:
    """Return the exit code of pytest in a copy of the repository, and the last line that it printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider"]
    path = os.pathsep.join([str(folder), str(folder / "packages/modelyard/src")])
    env = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *(f"tests/{test}" for test in tests)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return done.returncode, lines[-1] if lines else ""


@cache
def run_unchanged_test(folder: Path, test: str) -> tuple[int, str]:
    """Return what `run_test` does while nothing is removed; each test runs once so."""
    return run_test(folder, test)


def describe_outcome(folder: Path, removal: Removal) -> str:
    """Return why a removal was not noticed as it must be; empty where the test fails without the protection only."""
    code, last = run_unchanged_test(folder, removal.test)
    if code:
        return f"the test fails with the protection: {last}"
    with removed(folder, removal):
        code, last = run_test(folder, removal.test)
    if code == 0:
        return "the test passes without the protection"
    if code != 1 or "failed" not in last:
        return f"the test did not run without the protection: {last}"
    return ""


def main() -> int:
    """Remove the protections, print a line for each, and return 1 where a test does not notice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="the numbers of the removals")
    parser.add_argument("--list", action="store_true", help="show the numbers")
    options = parser.parse_args()
    numbers = options.only or range(1, len(REMOVALS) + 1)
    if options.list:
        print("\n".join(f"{number:3} {removal.protection}" for number, removal in enumerate(REMOVALS, 1)))
        return 0
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        copy_repository(Path(name))
        for number in numbers:
            removal = REMOVALS[number - 1]
            problem = describe_outcome(Path(name), removal)
            missed += bool(problem)
            print(f"{number:3} {'MISSED' if problem else 'ok    '} {removal.protection}  {problem}", flush=True)
    print(f"{len(numbers) - missed} of {len(numbers)} removals were noticed")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
