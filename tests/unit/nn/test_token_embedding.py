"""The token embedding: vectors times a factor, which the models' setting `scale_embedding` decides."""

import pytest
import torch

from simmim.models.modeling_simmim import SimMIMPreTrainedModel
from simmim.nn.token_embedding import TokenEmbedding
from support import MODELS, small_config


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
