"""The tests of transformers that a SimMIM model fails, and why: patterns of ``class.test``, each with its reason."""

__all__ = ["KNOWN_FAILURES"]

_ALONE = "an encoder alone is no start for a summariser: its decoder would be random, so the checkpoint is refused"
KNOWN_FAILURES: dict[str, str] = {
    r"\w+\.test_attention_outputs": "expects maps [B, H, N, N]; ours are of segments, [B, H, N, K] (attention_maps)",
    r"TestConditionalGeneration\.test_base_model_prefix_loads_base_weights": _ALONE,
    r"TestConditionalGeneration\.test_correct_missing_keys": _ALONE,
    r"TestConditionalGeneration\.test_training_overfit": "its prompt of one token is all that the encoder reads",
}
