"""The command line as its users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FAST = ("--scenario", "toy", "--base", "toy.safetensors", "--set", "steps=4", "--quiet")


def test_run_prints_json_alone_and_show_and_leaderboard_read_its_records(command):
    code, out, err = command("run", "--method", "mds", "--seeds", "2", "--json", *FAST)
    assert code == 0, err
    printed = json.loads(out)
    assert (
        printed["scenario"] == "toy" and printed["method"] == "mds" and [r["seed"] for r in printed["runs"]] == [0, 1]
    )
    round_ = printed["runs"][0]["rounds"][0]
    assert set(round_) == {"target", "target_gain", "devsafety", "strictly_preserved", "classes"}
    assert round_["classes"]["f"].keys() == {"n", "old_correct", "new_correct", "both_correct"}
    rounds = [r["rounds"][0] for r in printed["runs"]]
    assert printed["strict_preservation_rate"] == sum(r["strictly_preserved"] for r in rounds) / 2
    assert printed["preserved_gain"] == sum(r["target_gain"] * r["strictly_preserved"] for r in rounds) / 2

    record = next(Path("runs/records/toy").glob("mds-seed0-*.json"))
    code, out, _ = command("show", str(record))
    assert code == 0 and "f (target)" in out
    code, out, _ = command("leaderboard", "--results", "runs")
    assert code == 0 and "mds" in Path("runs/leaderboard.md").read_text() and Path("runs/plots/toy-gains.svg").is_file()


def test_what_is_finished_is_not_run_again_unless_forced(command):
    arguments = ("run", "--method", "rm", "--seed", "3", *FAST)
    assert command(*arguments)[0] == 0
    (record,) = Path("runs/records/toy").glob("*.json")
    before = record.stat().st_mtime_ns
    assert command(*arguments)[0] == 0
    assert record.stat().st_mtime_ns == before
    assert command(*arguments, "--force")[0] == 0
    assert record.stat().st_mtime_ns > before


def test_an_interrupted_command_goes_on_where_it_stopped(command, monkeypatch):
    from benchmark.running import runner

    made = []
    execute = runner.execute

    def interrupted(runs, *arguments):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(runs[0].stream.seed)
        return execute(runs, *arguments)

    monkeypatch.setattr(runner, "execute", interrupted)
    arguments = ("run", "--method", "finetune", "--seeds", "3", "--workers", "1", *FAST)
    code, _, err = command(*arguments)
    assert code == 130 and "goes on from there" in err
    made.append(-1)
    assert command(*arguments)[0] == 0
    assert made == [0, -1, 1, 2]


def test_progress_is_plain_lines_on_stderr_away_from_a_terminal(command):
    code, out, err = command("run", "--method", "mds", "--seeds", "1", *FAST[:-1])
    assert code == 0 and "mds seed 0: 4/4" in err.splitlines() and "4/4" not in out


def test_several_methods_run_on_the_same_streams_and_print_a_line_each(command):
    code, out, err = command("run", "--method", "finetune, mds,finetune+ties", "--seeds", "2", "--json", *FAST)
    assert code == 0, err
    printed = [json.loads(line) for line in out.splitlines()]
    assert [line["method"] for line in printed] == ["finetune", "mds", "finetune+ties"]
    assert all([run["seed"] for run in line["runs"]] == [0, 1] for line in printed)
    assert len(list(Path("runs/records/toy").glob("*.json"))) == 6
    code, out, _ = command("leaderboard", "--results", "runs")
    assert code == 0 and "finetune+ties" in Path("runs/leaderboard.md").read_text()


OWN = """
import torch.nn.functional as F
from methods.strategy import RoundStrategy

class Mine(RoundStrategy):
    "Cross-entropy on target and protected images alike."

    def round_loss(self, logits, labels):
        return F.cross_entropy(logits, labels)
"""


def test_a_method_in_a_file_runs_and_a_changed_one_runs_again(command):
    Path("mine.py").write_text(OWN)
    for count, content in ((1, OWN), (1, OWN), (2, OWN + "# changed")):
        Path("mine.py").write_text(content)
        code, _, err = command("run", "--method", "mine.py:Mine", "--seeds", "1", *FAST)
        assert code == 0, err
        assert len(list(Path("runs/records/toy").glob("*.json"))) == count


def test_a_method_is_tried(command):
    Path("mine.py").write_text(OWN)
    code, out, _ = command("try", "mine.py:Mine")
    assert code == 0 and "all checks passed" in out
    Path("mine.py").write_text(OWN.replace("return F", "raise KeyError('no') or F"))
    code, out, _ = command("try", "mine.py:Mine")
    assert code == 1 and "FAILED KeyError" in out and "mine.py:9" in out


def test_tuning_tries_as_many_settings_as_asked_and_says_which_it_chose(command, monkeypatch):
    from methods.finetune import FinetuneSettings

    monkeypatch.setattr(FinetuneSettings, "GRID", {"steps": (2, 3), "lr": (1e-5, 1e-3)})
    arguments = ("tune", "--method", "finetune", "--scenario", "toy", "--base", "toy.safetensors", "--seed", "7,8")
    code, out, err = command(*arguments, "--trials", "2", "--quiet")
    assert code == 0, err
    assert "seeds 7, 8" in out and "* " in out and "DevSafety" in out
    kept = json.loads(Path("runs/tuning/toy/finetune.json").read_text())
    assert len(kept["trials"]) == 2 and kept["seeds"] == [7, 8]


def test_a_plan_says_what_a_study_can_show(command):
    code, out, _ = command("plan", "--classes", "5", "--images", "800", "--flips", "0.06", "--drop", "0.01")
    assert code == 0 and "4.14 %" in out and "9.47 %" in out
    code, _, err = command("plan", "--classes", "5", "--images", "800", "--flips", "0.06", "--drop", "0.1")
    assert code == 2 and "no more predictions than flip" in err
    classes = ("--classes", "1000000", "--images", "800", "--flips", "0.06", "--drop", "0.01")
    assert command("plan", *classes, "--alpha", "1e-9")[0] == 0
    code, _, err = command("plan", *classes, "--alpha", "1e-10")
    assert code == 2 and "'--alpha': Input should be greater than or equal to" in err


def test_a_plan_says_how_many_images_a_certificate_takes(command):
    arguments = ("plan", "--classes", "5", "--images", "800", "--flips", "0.06", "--drop", "0.01")
    code, out, _ = command(*arguments, "--certify", "0.02", "--margin", "0.01")
    assert code == 0 and "no class lost 1 point or more" in out.splitlines()[-1]
    code, out, _ = command(*arguments, "--certify", "0.02")
    assert code == 0 and "every class gained" in out.splitlines()[-1]
    code, _, err = command(*arguments, "--margin", "0.01")
    assert code == 2 and "give --certify too" in err


def test_lists(command):
    code, out, _ = command("list", "scenarios")
    assert code == 0 and {line.split()[0] for line in out.splitlines()} >= {"driving-foggy", "folder"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--method", "msd"), "did you mean 'mds'"),
        (("run", "--method", "mds", "--scenario", "driving-fogy"), "did you mean 'driving-foggy'"),
        (("run", "--method", "mds", *FAST, "--set", "betta=3"), "did you mean 'beta'"),
        (("run", "--method", "mds", *FAST, "--set", "beta=much"), "--set beta=much"),
        (("run", "--method", "mds", *FAST, "--set", "beta=-1"), "greater than or equal to 0"),
        (("run", "--method", "mds", *FAST, "--set", "beta"), "key=value"),
        (("run", "--method", "mds", *FAST, "--option", "round=2"), "did you mean 'rounds'"),
        (("run", "--method", "mds", "--seeds", "few"), "--seeds"),
        (("run", "--method", "mds", "--seeds", "0"), "1 or more"),
        (("run", "--method", "mds", "--seed", "1,1"), "distinct"),
        (("run", "--method", "mds", "--seed", "1", "--seeds", "2"), "not both"),
        (("run", "--method", "mds", "--device", "tpu"), "auto, cpu or cuda"),
        (("run", "--method", "mds", "--scenario", "folder"), "needs --data"),
        (("run", "--method", "mds", "--scenario", "folder", "--data", "nowhere", "--target", "x"), "nowhere"),
        (("run", "--method", "mds", "--target", "x"), "it belongs to folder"),
        (("run", "--method", "mds", "--scenario", "toy", "--base", "none.safetensors"), "no such checkpoint"),
        (("run", "--method", "mds", "--scenario", "toy", "--model", "ViT-B-32"), "needs weights"),
        (("run",), "--method"),
        (("run", "--method", "~nobody-here/mine.py:Mine"), "no such file"),
        (("try", "~nobody-here/mine.py:Mine"), "no such file"),
        (("data", "verify", "--scenario", "folder", "--data", "~nobody-here/photos"), "there is no '~nobody-here"),
        (("walk",), "No such command 'walk'. (usage: "),
        (("try", "--method", "mds"), "try [OPTIONS] {method}; see "),
        (("try", "msd"), "did you mean 'mds'"),
        (("adopt", "--results", "nowhere"), "holds no searches"),
        (("try", "mine.py:Mine"), "no such file"),
        (("run", "--method", "ties"), "finetune+ties"),
        (("run", "--method", "mds,msd"), "did you mean 'mds'"),
        (("tune", "--method", "frozen", "--scenario", "toy", "--base", "toy.safetensors"), "nothing to tune"),
        (("tune", "--method", "mds", "--trials", "0"), "--trials"),
        (("show", "nothing.json"), "nothing.json"),
        (("leaderboard", "--results", "nowhere"), "nowhere"),
        (("list", "toys"), "methods or scenarios"),
        (("pretrain", "--scenario", "toy", "--set", "step=2"), "did you mean 'steps'"),
        (("pretrain", "--scenario", "toy", "--set", "probe_steps=2"), "probe_steps are for the model mds-lite0"),
    ],
    ids=lambda value: " ".join(value[-4:]) if isinstance(value, tuple) else "",
)
def test_mistakes_give_one_line_and_exit_code_2(command, arguments, message):
    code, out, err = command(*arguments)
    assert code == 2 and out == ""
    assert len(err.splitlines()) == 1 and err.startswith("error: ") and message in err


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(command):
    Path("file").write_text("")
    code, _, err = command("run", "--method", "mds", "--results", "file/results", *FAST)
    assert code == 2 and "cannot write to file/results" in err


def test_a_checkpoint_of_another_architecture(command):
    import torch
    from safetensors.torch import save

    Path("other.safetensors").write_bytes(save({"fc.weight": torch.zeros(2)}))
    code, _, err = command("run", "--method", "mds", "--scenario", "toy", "--base", "other.safetensors")
    assert code == 2 and "other.safetensors: not a checkpoint of mds-tiny" in err and len(err.splitlines()) == 1


def test_pretrain_writes_a_base_that_run_can_start_from(command, monkeypatch, tmp_path):
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path / "cache"))
    recipe = ("--set", "steps=3", "--option", "per_class=20", "--quiet")
    code, out, err = command("pretrain", "--scenario", "toy", "--out", "mine.safetensors", *recipe)
    assert code == 0 and "mine.safetensors" in out, err
    code, out, _ = command("run", "--method", "frozen", "--scenario", "toy", "--base", "mine.safetensors", "--json")
    assert code == 0 and json.loads(out)["strict_preservation_rate"] == 1
    first = Path("mine.safetensors").read_bytes()
    assert command("pretrain", "--scenario", "toy", "--out", "again.safetensors", *recipe)[0] == 0
    assert Path("again.safetensors").read_bytes() == first
    assert len(list((tmp_path / "cache" / "bases").iterdir())) == 1
