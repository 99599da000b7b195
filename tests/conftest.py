"""Checks annotated shapes in every test function, and fixes what no test may depend on: seed, threads and network."""

import os

# For the processes that tests start, too. One thread: two cores that others use as well are slower with two.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import gc
import json
import random
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, settings
from jaxtyping import config, install_import_hook

import shape_checks

# Before anything imports simmim: from here on a call there can check its arguments' and results' types and shapes.
# (Not in models: transformers passes its own subclasses and proxies through signatures that say less.)
install_import_hook(["simmim.ops", "simmim.nn"], "shape_checks.checked")
torch.set_num_threads(1)
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")
USERS_CACHE = os.environ.get("SIMMIM_CACHE", "")

SHAPES_EVERY = int(os.environ.get("SIMMIM_TEST_SHAPES_EVERY", "12"))
"""A test function checks shapes with the first of its parameters and each so-many-th: the checks cost four times what
they check. A test without parameters always does; each of them in its first calls, as `shape_checks` says."""
_checks_shapes = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Choose which tests check shapes, the same ones whatever else is run."""
    seen = Counter[str]()
    for item in items:
        function = item.nodeid.split("[")[0]
        item.stash[_checks_shapes] = seen[function] % SHAPES_EVERY == 0
        seen[function] += 1


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the libraries and the tests themselves out of garbage collections: each run of a trainer asks for one."""
    gc.disable()
    result = yield
    gc.enable()
    gc.collect()
    gc.freeze()
    return result


@pytest.fixture(autouse=True)
def _shapes(request: pytest.FixtureRequest) -> None:
    """Check shapes, or not."""
    shape_checks.begin(request.node.stash[_checks_shapes])


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Start every test from the same random state."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what is loaded out of the user's own cache, in the processes that tests start, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIMMIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Let wrong shapes through to the library's own errors, which are what a user meets."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", before)


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Give a context in which no file gets larger than so many bytes, as on a disk that has no more room."""
    resource = pytest.importorskip("resource", reason="there is no such limit on Windows")

    @contextmanager
    def limit(room: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture(scope="session")
def make_recipe() -> Callable[[Path], Path]:
    """Give a function that writes a recipe of a tiny run, and its examples, into a folder."""

    def write(folder: Path) -> Path:
        words = "editor compiler library server client small fast python network image sound text".split()
        drawn = random.Random(0)
        files = {}
        for split, count in (("train", 32), ("validation", 8), ("test", 6)):
            documents = [" ".join(drawn.choices(words, k=drawn.randint(5, 40))) for _ in range(count)]
            rows = [{"document": text, "summary": " ".join(text.split()[:4])} for text in documents]
            file = folder / f"{split}.jsonl"
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            files[split] = str(file)
        entries = {
            "data": files,
            "tokenizer": {"vocab_size": 300},
            "output_dir": str(folder / "run"),
            "model": {
                **{"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "segment_length": 8},
                **{"num_hidden_layers": 1, "num_decoder_layers": 1},
            },
            "training": {
                **{"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 0.01, "logging_steps": 1},
                **{"save_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "use_cpu": True},
            },
        }
        recipe = folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(entries), encoding="utf-8")
        return recipe

    return write


@pytest.fixture(scope="session")
def make_text_recipe(make_recipe: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """Give a function that writes a recipe of a tiny language model, and its texts, into a folder."""

    def write(folder: Path) -> Path:
        path = make_recipe(folder)
        entries = yaml.safe_load(path.read_text())
        for split, file in entries["data"].items():
            texts = [json.loads(line)["document"] for line in Path(file).read_text().splitlines()]
            rows = [{"text": " ".join([text] * (1 + place % 4))} for place, text in enumerate(texts)]
            entries["data"][split] = str(folder / f"{split}-texts.jsonl")
            Path(entries["data"][split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
        entries |= {"task": "language-modelling", "data": entries["data"] | {"sequence_length": 64}}
        path.write_text(yaml.safe_dump(entries))
        return path

    return write


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, make_recipe: Callable[[Path], Path]) -> Path:
    """Train a tiny model, once; return the folder of the run. Tests copy what they change."""
    from simmim.train.run_config import load_recipe
    from simmim.train.trainer import train

    return train(load_recipe(make_recipe(tmp_path_factory.mktemp("tiny")))).parent


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory, make_text_recipe: Callable[[Path], Path]) -> Path:
    """Train a tiny language model, once; return its folder, to be read only."""
    from simmim.train.run_config import load_recipe
    from simmim.train.trainer import train

    return train(load_recipe(make_text_recipe(tmp_path_factory.mktemp("tiny-text"))))


@pytest.fixture(scope="session")
def default_model() -> Path:
    """Return the folder of the default pretrained model; skip where its package is missing.

    Converting it takes half a minute: it is taken from the user's own cache, where `make model` leaves it.
    """
    from simmim.errors import CheckpointError
    from simmim.tasks.pretrained_weights import default_model_file, find_weights

    try:
        default_model_file()
    except CheckpointError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIMMIM_CACHE", USERS_CACHE)  # the user's own, if empty
        converted = find_weights(None)
    link = Path(os.environ["SIMMIM_CACHE"], "models", converted.name)
    link.parent.mkdir(exist_ok=True)
    with suppress(OSError):  # Windows may not allow it, and converts once more
        link.symlink_to(converted, target_is_directory=True)
    return find_weights(None)


@pytest.fixture
def tiny_model(tiny_run: Path) -> Path:
    """Return the folder of a tiny trained model, to be read only."""
    return tiny_run / "model"


@pytest.fixture(scope="session")
def tiny_chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny untrained model that writes conversations, to be read only."""
    from simmim import SimMIMConfig, SimMIMForCausalLM
    from simmim.data.chat_template import add_chat_template, turn_end_ids
    from simmim.data.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("chat")
    tokenizer = train_tokenizer(["a user asks the assistant about the system", "樹和河流"] * 3, 290)
    add_chat_template(tokenizer)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = SimMIMConfig(
        vocab_size=len(tokenizer),
        segment_length=8,
        eos_token_id=turn_end_ids(tokenizer),
        initializer_range=0.5,
        **sizes,
    )
    torch.manual_seed(0)
    SimMIMForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
