"""The token embedding: vectors times a factor, which the setting `scale_embedding` decides; what is no id is named."""

import pytest
import torch

from simmim import SimMIMForConditionalGeneration
from simmim.errors import ShapeError
from simmim.models.modeling_simmim import SimMIMPreTrainedModel
from simmim.nn.token_embedding import TokenEmbedding
from support import MODELS, family_batch, small_config


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_vectors_are_the_rows_times_the_factor(scale: float) -> None:
    embedding = TokenEmbedding(10, 6, scale)
    ids = torch.randint(0, 10, (2, 3))
    found = embedding(ids)
    torch.testing.assert_close(found, embedding.weight[ids] * scale)
    found.sum().backward()
    torch.testing.assert_close(
        embedding.weight.grad, torch.bincount(ids.flatten(), minlength=10)[:, None] * torch.full((10, 6), scale)
    )


@pytest.mark.parametrize(("scaled", "factor"), [(True, 4.0), (False, 1.0)])
@pytest.mark.parametrize("head", MODELS)
def test_models_read_scaled_embeddings_and_the_head_the_rows_as_they_are(
    head: type[SimMIMPreTrainedModel], scaled: bool, factor: float
) -> None:
    model = head(small_config(scale_embedding=scaled))  # of hidden size 16
    found = [module for module in model.modules() if isinstance(module, TokenEmbedding)]
    ids = torch.tensor([[7, 8]])
    for embedding in found:
        torch.testing.assert_close(embedding(ids), embedding.weight[ids] * factor)
    output = model.get_output_embeddings()
    if output is not None:
        hidden = torch.randn(1, 2, 16)
        torch.testing.assert_close(output(hidden), hidden @ found[0].weight.T)


WRONG_IDS = {
    "too large": (lambda ids: ids.index_fill(1, torch.tensor([3]), 50), "from 0 to 49 .*got 50"),
    "far too large": (lambda ids: ids.index_fill(1, torch.tensor([0]), 10**12), "from 0 to 49 .*got 1000000000000"),
    "negative": (lambda ids: ids.index_fill(1, torch.tensor([3]), -1), "from 0 to 49 .*got -1"),
    "float": (lambda ids: ids.float(), "whole numbers .*float32"),
    "bool": (lambda ids: ids.bool(), "whole numbers .*bool"),
    "uint8": (lambda ids: ids.to(torch.uint8), "whole numbers .*uint8"),
    "complex": (lambda ids: ids.to(torch.complex64), "whole numbers .*complex64"),
}


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("kind", WRONG_IDS)
@pytest.mark.parametrize(
    ("head", "copies"), [*((head, False) for head in MODELS), *((head, True) for head in MODELS[-2:])]
)
def test_ids_and_labels_outside_the_vocabulary_are_named(
    head: type[SimMIMPreTrainedModel], copies: bool, kind: str
) -> None:
    config = small_config(num_labels=50, copy_head=copies, problem_type="single_label_classification")
    model = head(config).eval()
    batch = family_batch(head)
    spoil, complaint = WRONG_IDS[kind]
    with pytest.raises(ShapeError, match=f"input_ids: expected .*{complaint}"):
        model(**batch | {"input_ids": spoil(batch["input_ids"])})
    if head is SimMIMForConditionalGeneration:
        targets = spoil(batch["labels"].clamp(min=0))
        with pytest.raises(ShapeError, match=f"input_ids: expected .*{complaint}"):
            model(input_ids=batch["input_ids"], decoder_input_ids=targets)
    if "labels" in batch:
        labels = batch["labels"]
        spoilt = spoil(labels) if labels.ndim == 2 else spoil(labels[None])[0]
        with pytest.raises(ShapeError, match="labels: expected"):
            model(**batch | {"labels": spoilt})
    model(**{name: values.int() for name, values in batch.items()})  # what is right is taken


def test_a_compiled_graph_does_not_look_at_ids() -> None:
    embedding = TokenEmbedding(10, 6)
    exported = torch.export.export(embedding, (torch.tensor([[1, 2]]),)).module()
    torch.testing.assert_close(exported(torch.tensor([[3, 4]])), embedding(torch.tensor([[3, 4]])))
