"""Trains a recipe with Ray Train, which gives each worker the environment that torchrun would.

python examples/cluster/ray_train.py configs/mine.yaml --workers 4
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Start the workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--cpu", action="store_true", help="no accelerators")
    options = parser.parse_args()

    from ray.train import FailureConfig, RunConfig, ScalingConfig  # type: ignore[import-not-found]
    from ray.train.torch import TorchTrainer  # type: ignore[import-not-found]

    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"recipe": str(options.recipe.resolve())},
        scaling_config=ScalingConfig(num_workers=options.workers, use_gpu=not options.cpu),
        run_config=RunConfig(failure_config=FailureConfig(max_failures=10)),
    )
    trainer.fit()


def train_worker(config: dict[str, str]) -> None:
    """Train in one worker; what a failed attempt has left is gone on with."""
    from simmim.train.run_config import load_recipe
    from simmim.train.trainer import train

    recipe = load_recipe(Path(config["recipe"]))
    train(recipe, resume=(Path(recipe.output_dir) / "recipe.yaml").exists())


if __name__ == "__main__":
    main()
