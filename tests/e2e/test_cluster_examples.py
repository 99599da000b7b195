"""Tests that the examples for clusters run with two processes on one machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PATIENCE = 600


def run(*command, **environment):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = os.environ | {"PATH": path, "PROCESSES": "2", "PORT": "0", "RESTARTS": "0"} | environment
    found = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=PATIENCE)
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.mark.slow
def test_one_document_is_shared_out():
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    printed = run(*torchrun, "examples/cluster/segments.py", "--tokens", "2048")
    assert printed.count("1,024 tokens") == 2


@pytest.mark.slow
def test_a_recipe_is_trained_by_two_processes(tmp_path, make_recipe):
    recipe = make_recipe(tmp_path)
    printed = run("examples/cluster/train.sh", str(recipe))
    assert printed.split() == [str(tmp_path / "run" / "model")]


def test_files_are_of_their_formats():
    service, job = yaml.safe_load_all((ROOT / "examples/cluster/kubernetes.yaml").read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    for script in ("train.sh", "slurm.sbatch"):
        subprocess.run(["bash", "-n", ROOT / "examples/cluster" / script], check=True, timeout=PATIENCE)
    compile((ROOT / "examples/cluster/ray_train.py").read_text(), "ray_train.py", "exec")
