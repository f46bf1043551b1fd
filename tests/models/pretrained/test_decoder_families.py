"""What folders of LLaDA, Dream, A2D, SDAR, SMDM, MDLM, BD3-LM and SEDD say, and what is refused with which sentence."""

import jax
import pytest
from golden_cases import abstract, golden

from mdm_jax.models.pretrained.by_blocks import BlockCausalDecoder
from mdm_jax.models.pretrained.families import decoders, diffusion, llada, smdm
from mdm_jax.support.errors import InputError

CASES = golden("decoders") | golden("diffusion")
LLADA, DREAM, QWEN3, SDAR, SMDM = (CASES[n]["config"] for n in ("LLaDA", "Dream", "A2D of Qwen3", "SDAR", "SMDM"))
FAST = CASES["Fast-dLLM v2"]["config"]
MDLM, BD3, SEDD = (CASES[n]["config"] for n in ("MDLM", "BD3-LM of one block", "SEDD"))
HEAD = ["lm_head.weight"]

LINEAR = {"rope_type": "linear", "factor": 2.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "original_max_position_embeddings": 8}

REFUSED = [
    (llada, LLADA, {"num_experts": 64}, {}, "config.json's num_experts must be absent: mixtures of experts are not"),
    (llada, LLADA, {"block_type": "sequential"}, {}, "config.json's block_type must be 'llama' for this network"),
    (llada, LLADA, {"activation_type": "swiglu"}, {}, "config.json's activation_type must be 'silu'"),
    (llada, LLADA, {"alibi": True}, {}, "config.json's alibi must be False for this network; got True."),
    (llada, LLADA, {"rope": False}, {}, "config.json's rope must be True for this network; got False."),
    (llada, LLADA, {"attention_layer_norm": True}, {}, "config.json's attention_layer_norm must be False"),
    (llada, LLADA, {"scale_logits": True}, {}, "config.json's scale_logits must be False"),
    (llada, LLADA, {"input_emb_norm": True}, {}, "config.json's input_emb_norm must be False"),
    (llada, LLADA, {}, {"block": 4}, "block must be left out, as LLaDA sees all positions; got 4."),
    (llada, LLADA, {"block_group_size": 2}, {}, "config.json's block_group_size must be 1"),
    (llada, LLADA, {"clip_qkv": 8.0}, {}, "config.json's clip_qkv must be None for this network; got 8.0."),
    (llada, LLADA, {"rope_scaling": {"factor": 2}}, {}, "config.json's rope_scaling must be None for this network"),
    (llada, LLADA, {"n_layers": None}, {}, "config.json's n_layers must be a whole number, 1 or more; got None."),
    (llada, LLADA, {"embedding_size": 12}, {}, "config.json's vocab_size must be at most its embedding_size = 12"),
    (llada, LLADA, {"mask_token_id": None}, {}, "mask_id must be given, as config.json has no 'mask_token_id'"),
    (llada, LLADA, {}, {"mask_id": 13}, "mask_id must be a whole number from 0 to 12; got 13."),
    (llada, LLADA, {}, {"shift": "yes"}, "shift must be True or False; got 'yes'."),
    (llada, LLADA, {}, {"banned": 3}, "banned must be a list of token ids; got 3."),
    (decoders, DREAM, {}, {}, "shift must be given, as Dream's own checkpoints are shifted"),
    (decoders, DREAM, {"block_size": 8}, {"shift": False}, "block must be given, as config.json has blocks of 8"),
    (
        decoders,
        QWEN3,
        {"rope_scaling": {"type": "dynamic"}},
        {},
        "config.json's rope_scaling must be absent, or of type 'linear' or 'llama3' or 'yarn'; got 'dynamic'.",
    ),
    (decoders, QWEN3, {"rope_scaling": "yarn"}, {}, "config.json's rope_scaling must be a dictionary; got 'yarn'."),
    (decoders, QWEN3, {"rope_scaling": {**LINEAR, "factor": 0}}, {}, "config.json's factor must be a positive number"),
    (
        decoders,
        QWEN3,
        {"rope_scaling": {**LINEAR, "ntk": 1}},
        {},
        "config.json's rope_scaling must be without keys that",
    ),
    (
        decoders,
        QWEN3,
        {"rope_scaling": LINEAR, "rope_parameters": LINEAR},
        {},
        "config.json's rope_scaling must be absent",
    ),
    (decoders, QWEN3, {"rope_parameters": LINEAR}, {}, "config.json's rope_theta must be a positive number; got None."),
    (
        decoders,
        QWEN3,
        {"rope_scaling": {**LINEAR, "rope_type": "yarn"}},
        {},
        "config.json's original_max_position_embeddings must be a whole number, 1 or more; got None.",
    ),
    (
        decoders,
        QWEN3,
        {"rope_scaling": {**LLAMA3, "high_freq_factor": 4.0}},
        {},
        "config.json's low_freq_factor must be less than its high_freq_factor = 4.0; got 4.0.",
    ),
    (decoders, QWEN3, {"use_sliding_window": True}, {}, "config.json's use_sliding_window must be False"),
    (decoders, QWEN3, {"layer_types": ["sliding_attention"]}, {}, "config.json's layer_types must be 'full_attention'"),
    (decoders, QWEN3, {"attention_bias": True}, {}, "config.json's attention_bias must be False"),
    (decoders, QWEN3, {"hidden_act": "gelu"}, {}, "config.json's hidden_act must be 'silu'"),
    (decoders, QWEN3, {"model_type": "qwen3"}, {}, "shift must be given for a plain Qwen3, which predicts from left"),
    (decoders, QWEN3, {"model_type": "gemma"}, {}, "config.json's model_type must be one of dream, a2d-llama"),
    (
        decoders,
        FAST,
        {"bd_size": None},
        {},
        "block must be given, as Fast-dLLM v2 goes by blocks and config.json has no",
    ),
    (decoders, FAST, {"mask_token_id": None}, {}, "mask_id must be a whole number from 0 to 12; got 151665."),
    (decoders, SDAR, {"block_size": None}, {}, "block must be given, as SDAR goes by blocks"),
    (
        decoders,
        QWEN3,
        {"rope_parameters": {"partial_rotary_factor": 0.5}},
        {},
        "config.json's partial_rotary_factor must",
    ),
    (decoders, SDAR, {"block_size": 0}, {}, "block must be a whole number, 1 or more; got 0."),
    (smdm, SMDM, {}, {"block": 4}, "block must be left out, as SMDM sees all positions; got 4."),
    (smdm, SMDM, {"parallel_residual": True}, {}, "config.json's parallel_residual must be False"),
    (smdm, SMDM, {"rotary_percentage": 0.25}, {}, "config.json's rotary_percentage must be 1.0 or 1"),
    (smdm, SMDM, {"n_query_groups": 3}, {}, "config.json's n_query_groups must be a divisor of its n_head = 4"),
    (smdm, SMDM, {"_mlp_class": "GptNeoxMLP"}, {}, "config.json's _mlp_class must be 'LLaMAMLP'"),
    (diffusion, MDLM, {}, {}, "mask_id must be given, as config.json has no 'mask_token_id' or 'mask_index'"),
    (diffusion, BD3, {"block_size": None}, {"mask_id": 11}, "config.json's block_size must be a whole number"),
    (diffusion, SEDD, {}, {"block": 4}, "block must be left out, as SEDD has none; got 4."),
    (diffusion, BD3, {"time_conditioning": True}, {"mask_id": 11, "block": 4}, "timed must be False by blocks"),
    (diffusion, BD3, {"causal": True}, {"mask_id": 11}, "config.json's causal must be False"),
    (diffusion, BD3, {"adaln": False}, {"mask_id": 11}, "config.json's adaln must be True"),
    (diffusion, MDLM, {"model_type": "udlm"}, {"mask_id": 11}, "config.json's model_type must be 'mdlm' or 'bd3lm'"),
    (diffusion, SEDD, {"graph": {"type": "uniform"}}, {}, "config.json's graph.type must be 'absorb'"),
    (diffusion, SEDD, {"noise": {"type": "geometric"}}, {}, "config.json's noise.type must be 'loglinear'"),
    (diffusion, SEDD, {"model": None}, {}, "config.json's model must be a dictionary of the network's sizes"),
]


@pytest.mark.parametrize(("family", "config", "change", "settings", "sentence"), REFUSED)
def test_what_the_network_is_not_or_nobody_says_is_refused_with_a_sentence(family, config, change, settings, sentence):
    with pytest.raises(InputError) as refused:
        family.published({**config, **change}, HEAD, settings)
    told = str(refused.value).split("\n")[0]
    assert told.startswith(sentence)
    assert told.endswith(".")


def test_settings_are_heard_before_the_configuration():
    settings = {"shift": True, "mask_id": 3, "end_id": 4, "banned": [5, 6], "prefix": [1], "length": 7}
    told = llada.published(LLADA, HEAD, settings)
    assert (told.shift, told.mask_id, told.end_id, told.banned, told.prefix) == (True, 3, 4, (5, 6), (1,))
    assert told.module.length == 7
    plain = llada.published(LLADA, HEAD, {})
    assert (plain.shift, plain.mask_id, plain.end_id, plain.banned) == (False, 12, 11, ())


def test_dreams_own_mask_says_that_it_is_shifted():
    large = {**DREAM, "vocab_size": 152064, "mask_token_id": 151666}
    assert decoders.published(large, HEAD, {}).shift
    assert not decoders.published(large, HEAD, {"shift": False}).shift
    assert not decoders.published(QWEN3, HEAD, {}).shift


def test_fast_dllm_is_shifted_by_blocks_and_its_code_says_the_mask_where_nothing_does():
    told = decoders.published(FAST, HEAD, {})
    assert (told.shift, told.module.shifted, told.module.block) == (True, True, 3)
    large = {**FAST, "vocab_size": 152064, "mask_token_id": None}
    assert decoders.published(large, HEAD, {}).mask_id == 151665
    assert decoders.published(large, HEAD, {"vocabulary": {"|<MASK>|": 151700}}).mask_id == 151700
    plain = decoders.published(FAST, HEAD, {"shift": False}).module
    assert plain == told.module.clone(shifted=False)
    assert decoders.published(SDAR, HEAD, {"shift": True}).module.shifted


def test_a_sliding_window_that_is_not_used_is_none():
    """As Qwen2's own folders have it."""
    windows = {"use_sliding_window": False, "sliding_window": 131072, "max_window_layers": 28}
    assert decoders.published({**DREAM, **windows}, HEAD, {"shift": True}) == decoders.published(
        DREAM, HEAD, {"shift": True}
    )


def test_the_vocabulary_says_the_mask_where_the_configuration_does_not():
    config = {**QWEN3, "mask_token_id": None}
    assert decoders.published(config, HEAD, {"vocabulary": {"a": 0, "<|mask|>": 9}}).mask_id == 9


def test_blocks_make_a_network_by_blocks_of_the_same_parameters():
    told, whole = decoders.published(SDAR, HEAD, {}), decoders.published(SDAR, HEAD, {"block": 32})
    assert isinstance(told.module, BlockCausalDecoder)
    assert (told.module.block, told.module.mask_id) == (3, 12)
    assert not isinstance(whole.module, BlockCausalDecoder)
    assert jax.tree.structure(abstract(told)) == jax.tree.structure(abstract(whole))
    assert isinstance(decoders.published(QWEN3, HEAD, {"block": 4}).module, BlockCausalDecoder)


def test_a_head_of_its_own_counts_though_the_configuration_ties_it():
    tied = {**QWEN3, "tie_word_embeddings": True}
    assert not decoders.published(tied, HEAD, {}).module.tied
    assert decoders.published(tied, [], {}).module.tied


def test_padding_of_the_head_is_never_predicted():
    assert llada.published({**LLADA, "embedding_size": 16}, HEAD, {}).banned == (13, 14, 15)
    padded = {**SMDM, "padded_vocab_size": None, "padding_multiple": 8}
    told = smdm.published(padded, HEAD, {})
    assert (told.vocab_size, told.mask_id, told.banned) == (16, 16, (13, 14, 15))


def test_masks_of_mdlm_and_sedd_come_last_where_the_tokenizer_has_none():
    assert diffusion.published({**MDLM, "vocab_size": 50258}, (), {}).mask_id == 50257
    assert diffusion.published(SEDD, (), {}).mask_id == 11


@pytest.mark.parametrize(
    ("family", "config", "sizes", "count"),
    [
        (llada, LLADA, {"d_model": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 32}, 8_015_581_184),
        (decoders, DREAM, {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28}, 7_615_616_512),
    ],
    ids=["LLaDA-8B", "Dream-7B"],
)
def test_true_sizes_have_the_published_number_of_parameters(family, config, sizes, count):
    """Nothing is computed: shapes alone, of 8 billion parameters."""
    sizes |= (
        {"mlp_hidden_size": 12288, "vocab_size": 126464, "embedding_size": 126464, "mask_token_id": 126336}
        if family is llada
        else {"intermediate_size": 18944, "vocab_size": 152064, "num_key_value_heads": 4, "mask_token_id": 151666}
    )
    told = family.published({**config, **sizes}, HEAD, {})
    assert sum(leaf.size for leaf in jax.tree.leaves(abstract(told))) == count
