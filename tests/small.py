"""Small random models of every family, and the oracle that every plan is held against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)
from transformers.masking_utils import create_bidirectional_sliding_window_mask

from plait.checkpoint import Checkpoint
from plait.families import MODEL_TYPES
from plait.heads import score_head, span_head
from plait.plan import Plan
from plait.saving import save
from plait.text import Segment

LAYERS = 3
VOCABULARY = 99


COUNTING_FROM_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Families whose tokenizers write `</s></s>` between two texts and count positions from the padding token's number."""
WRITING = ("t5", "mt5", "umt5")
"""Families whose encoder feeds a decoder, which writes."""
CLOSING = ("xlnet",)
"""Families whose classification token stands last."""
ROTATING = ("gte", "nomic_bert", "jina_embeddings_v3")
WITHOUT_SPANS = (*WRITING, "gte", "nomic_bert")
"""Families of which `transformers` has no question answering."""
WITHOUT_TYPES = ("distilbert", "mpnet", "modernbert", *WRITING)
WITHOUT_POSITIONS = ("modernbert", "deberta-v2", "xlnet", *ROTATING, *WRITING)
"""Families that know only how far apart tokens are."""


def small_config(model_type: str, **changes: Any) -> Any:
    """A config of 3 layers, 4 heads, 32 hidden (ELECTRA, ALBERT: 24 embedding; ALBERT's first two layers are one)."""
    sizes: dict[str, Any] = dict(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=66, type_vocab_size=1 if model_type in COUNTING_FROM_PADDING else 2,
        pad_token_id=1 if model_type in COUNTING_FROM_PADDING else 0, initializer_range=0.3,
    )  # fmt: skip
    if model_type in ("electra", "albert"):
        sizes |= {"embedding_size": 24}
    if model_type == "albert":
        sizes |= {"num_hidden_groups": 2}
    if model_type in ROTATING:  # gates multiply: smaller weights keep rounding errors as small as elsewhere
        sizes |= {"initializer_range": 0.2}
    if model_type == "modernbert":  # the middle layer sees four tokens to both sides
        sizes |= {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3}
    if model_type == "deberta-v2":  # as version 3 has them
        sizes |= {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"],
                  "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
                  "type_vocab_size": 0}  # fmt: skip
    if model_type in WRITING:  # heads are wider than their share of the states; mT5's and umT5's layers are gated
        sizes = dict(
            vocab_size=VOCABULARY, d_model=32, d_kv=12, num_heads=4, d_ff=48, num_layers=LAYERS, num_decoder_layers=2,
            relative_attention_num_buckets=8, relative_attention_max_distance=20, pad_token_id=0, eos_token_id=1,
            decoder_start_token_id=0, feed_forward_proj="relu" if model_type == "t5" else "gated-gelu",
        )  # fmt: skip
    if model_type == "xlnet":
        sizes = dict(
            vocab_size=VOCABULARY, d_model=32, n_layer=LAYERS, n_head=4, d_inner=48, initializer_range=0.3,
            pad_token_id=1, num_labels=2,
        )  # fmt: skip
    sizes |= changes
    if model_type in WITHOUT_TYPES:
        sizes = {k: v for k, v in sizes.items() if k != "type_vocab_size"}
    if model_type == "distilbert":
        sizes = {"hidden_dim" if k == "intermediate_size" else k: v for k, v in sizes.items()}
    return AutoConfig.for_model(model_type, **sizes)


def small_base(model_type: str, seed: int = 0, **changes: Any) -> Any:
    """A random encoder of the family in evaluation mode; biases are random too, which `transformers` starts at 0."""
    torch.manual_seed(seed)
    config = small_config(model_type, **changes)
    base = AutoModel.from_config(config).eval()
    base = base.get_encoder() if model_type in WRITING else base
    for name, parameter in base.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    return base


WORDS = """river stone copper lantern winter garden music engine harbour silver bridge castle doctor letter market
mountain orchard painter queen railway sailor teacher village window yellow who what when where why which wrote built
found the a of in and to was is by on for with from it its ##s ##ed ##ing ##er ##ly""".split()
LETTERS = [chr(c) for c in range(33, 127) if not chr(c).isupper()] + list("ßøñ河水石中文한國😀👍")


def small_tokenizer(model_type: str = "bert") -> PreTrainedTokenizerFast:
    """A real tokenizer: WordPiece in lower case as BERT's, or byte-level BPE as RoBERTa's for its families, or Unigram
    in lower case as ALBERT's and DeBERTa's. MPNet's is WordPiece in a pair as RoBERTa's.
    """
    if model_type in ("albert", "deberta-v2"):
        return _unigram()
    if model_type in CLOSING:
        return _closing()
    if model_type in WRITING:
        return _ending()
    if model_type in COUNTING_FROM_PADDING and model_type != "mpnet":
        return _bytes()
    return _wordpiece(types=model_type not in WITHOUT_TYPES, doubled=model_type == "mpnet")


def _wordpiece(types: bool, doubled: bool) -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if doubled:  # padding is number 1
        special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    vocabulary = list(dict.fromkeys([*special, *LETTERS, *(f"##{c}" for c in LETTERS), *WORDS]))
    core = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, last = (("[CLS]", special.index("[CLS]")), ("[SEP]", special.index("[SEP]")))
    frame = processors.RobertaProcessing if doubled else processors.BertProcessing
    core.post_processor = frame(last, first)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", *(["token_type_ids"] if types else []), "attention_mask"],
    )  # fmt: skip


def _unigram() -> PreTrainedTokenizerFast:
    special = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [("▁", -9.0), *((c, -9.0) for c in LETTERS), *((f"▁{w}", -5.0) for w in WORDS if w.isalpha())]
    core = Tokenizer(models.Unigram([*((w, 0.0) for w in special), *pieces], unk_id=1, byte_fallback=False))
    core.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    core.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def _closing() -> PreTrainedTokenizerFast:
    """Unigram as XLNet's, whose classification token stands behind all texts and is of a type of its own."""
    special = ["<unk>", "<pad>", "<sep>", "<cls>", "<mask>"]
    pieces = [("▁", -9.0), *((c, -9.0) for c in LETTERS), *((f"▁{w}", -5.0) for w in WORDS if w.isalpha())]
    core = Tokenizer(models.Unigram([*((w, 0.0) for w in special), *pieces], unk_id=0, byte_fallback=False))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    core.post_processor = processors.TemplateProcessing(
        single="$A:0 <sep>:0 <cls>:2", pair="$A:0 <sep>:0 $B:1 <sep>:1 <cls>:2",
        special_tokens=[("<sep>", 2), ("<cls>", 3)],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", sep_token="<sep>", cls_token="<cls>",
        mask_token="<mask>", padding_side="left", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def _ending() -> PreTrainedTokenizerFast:
    """Unigram as T5's, with nothing before a text and `</s>` behind it."""
    special = ["<pad>", "</s>", "<unk>"]
    pieces = [("▁", -9.0), *((c, -9.0) for c in LETTERS), *((f"▁{w}", -5.0) for w in WORDS if w.isalpha())]
    core = Tokenizer(models.Unigram([*((w, 0.0) for w in special), *pieces], unk_id=2, byte_fallback=False))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    core.decoder = decoders.Metaspace()
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", eos_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _bytes() -> PreTrainedTokenizerFast:
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        if word.isalpha():
            made = "Ġ"  # a word after a blank is one token, the same word without the blank is many
            for letter in word:
                merges.append((made, letter))
                made += letter
    merges = list(dict.fromkeys(merges))
    vocabulary += [a + b for a, b in merges] + ["<mask>"]
    core = Tokenizer(models.BPE({w: i for i, w in enumerate(vocabulary)}, merges, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>", pad_token="<pad>",
        unk_token="<unk>", mask_token=AddedToken("<mask>", lstrip=True),
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def small_pair(model_type: str, num_labels: int = 1, seed: int = 0, **changes: Any) -> tuple[Any, Any]:
    """A random `...ForSequenceClassification` and a `...ForQuestionAnswering` (None where the family has none) on one
    encoder, in evaluation mode.
    """
    changes = {"vocab_size": len(small_tokenizer(model_type))} | changes
    scorer = AutoModelForSequenceClassification.from_config(small_config(model_type, num_labels=num_labels, **changes))
    if model_type in WITHOUT_SPANS:
        reader = None
    else:
        reader = AutoModelForQuestionAnswering.from_config(small_config(model_type, **changes))
    torch.manual_seed(seed)
    for model in filter(None, (scorer, reader)):
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower():
                torch.nn.init.normal_(parameter, std=0.2 if name.endswith("bias") else 0.3)
    base = scorer.base_model_prefix
    if reader is None:
        return scorer.eval(), None
    getattr(reader, base).load_state_dict(getattr(scorer, base).state_dict(), strict=False)
    return scorer.eval(), reader.eval()


def small_writer(model_type: str, folder: Path, **changes: Any) -> Path:
    """Save a random encoder-decoder model with its tokenizer to `folder`, as `transformers` does."""
    tokenizer = small_tokenizer(model_type)
    torch.manual_seed(0)
    changes = {"vocab_size": len(tokenizer)} | changes
    model = AutoModelForSeq2SeqLM.from_config(small_config(model_type, **changes))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def small_checkpoint(
    folder: Path,
    model_type: str = "bert",
    heads: Sequence[str] | None = None,
    num_labels: int = 1,
    plans: Mapping[str, str] | None = None,
    seed: int = 0,
    **changes: Any,
) -> Path:
    """Save a random model with its tokenizer to `folder`, as Plait does, with all heads that its family has or some;
    `changes` are of the config.
    """
    scorer, reader = small_pair(model_type, num_labels, seed, **changes)
    made: dict[str, torch.nn.Module] = {"score": score_head(scorer)}
    if reader is not None:
        made["span"] = span_head(reader)
    parts = Checkpoint(
        getattr(scorer, scorer.base_model_prefix), small_tokenizer(model_type), scorer.config,
        {head: made[head] for head in (made if heads is None else heads)},
        {head: Plan.parse(plan) for head, plan in (plans or {}).items()},
    )  # fmt: skip
    save(parts, folder)
    return folder


def small_families(head: str = "") -> list[str]:
    """Every family that has an adapter; or those that have a head."""
    without = {"": (), "score": WRITING, "span": WITHOUT_SPANS}[head]
    return [kind for kind in MODEL_TYPES if kind not in without]


def random_segments(
    lengths: Sequence[int], role: int, types: int, seed: int, *, closed: bool = False, first: int = 0
) -> list[Segment]:
    """Segments of random ids with the token type of their role; `closed` by a classification token; at `first`."""
    generator = torch.Generator().manual_seed(seed * 31 + role)
    return [
        Segment(
            torch.randint(5, VOCABULARY, (n,), generator=generator).tolist(), [(0, 0)] * n, min(role, types - 1),
            closed=closed, first=first,
        )
        for n in lengths
    ]  # fmt: skip


def inputs(base: Any, example: Sequence[Segment], positions: Tensor) -> dict[str, Tensor]:
    """What the model takes of segments side by side at `positions` [tokens] that count from 0: tensors [1, tokens]."""
    if base.config.model_type in COUNTING_FROM_PADDING:
        positions = positions + base.config.pad_token_id + 1
    given = {"input_ids": torch.tensor([[i for s in example for i in s.ids]])}
    if base.config.model_type not in WITHOUT_POSITIONS:
        given["position_ids"] = positions[None]
    if base.config.model_type not in WITHOUT_TYPES:
        given["token_type_ids"] = torch.tensor([[t for s in example for t in s.types()]])
    return given


def embedded(base: Any, **given: Tensor) -> Tensor:
    """What the first layer reads of these inputs, by the model's own modules: [1, tokens, H]."""
    if base.config.model_type in WRITING:
        ids: Tensor = base.embed_tokens(given["input_ids"])
        return ids
    if base.config.model_type == "xlnet":
        words: Tensor = base.word_embedding(given["input_ids"])
        return words
    x: Tensor = base.embeddings(**given)
    if base.config.model_type == "albert":
        x = base.encoder.embedding_hidden_mapping_in(x)
    if base.config.model_type == "electra":
        x = base.embeddings_project(x)
    return x


def layers_of(base: Any) -> list[Any]:
    """The model's own layers in the order in which it runs them; one that it runs twice stands there twice."""
    config = base.config
    if config.model_type == "distilbert":
        return list(base.transformer.layer)
    if config.model_type == "albert":
        each = config.num_hidden_layers / config.num_hidden_groups
        groups = [base.encoder.albert_layer_groups[int(i / each)] for i in range(config.num_hidden_layers)]
        return [layer for group in groups for layer in group.albert_layers]
    if config.model_type in WRITING:
        return list(base.block)
    if config.model_type == "xlnet":
        return list(base.layer)
    return list(base.layers if config.model_type in ("modernbert", *ROTATING) else base.encoder.layer)


def run_layer(base: Any, block: Any, x: Tensor, allowed: Tensor, types: Tensor | None = None) -> Tensor:
    """A layer of the model, its tokens standing side by side, under a mask: x [1, tokens, H], bool [tokens, tokens]."""
    if base.config.model_type == "xlnet":
        return run_xlnet_layer(base, block, x, allowed, types)
    kind, places = base.config.model_type, torch.arange(x.shape[1])
    given: dict[str, Any] = {}
    if kind == "modernbert":
        if block.attention_type == "sliding_attention":
            local: Any = create_bidirectional_sliding_window_mask(base.config, x, None)
            allowed = allowed if local is None else allowed & local[0, 0]
        given = {"position_embeddings": base.rotary_emb(x, places[None], block.attention_type)}
    if kind in ROTATING:
        given = {"position_embeddings": base.rotary_emb(x, places[None])}
    if kind in ("t5", "mt5"):
        given = {"position_bias": base.block[0].layer[0].SelfAttention.compute_bias(len(places), len(places))}
    if kind == "mpnet":
        given = {"position_bias": base.encoder.compute_position_bias(x)}
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]
    if kind == "deberta-v2":
        mask = allowed[None, None]
        given = {"relative_pos": base.encoder.get_rel_pos(x), "rel_embeddings": base.encoder.get_rel_embedding()}
    out = block(x, attention_mask=mask, **given)
    after: Tensor = out[0] if isinstance(out, tuple) else out
    return after


def run_xlnet_layer(base: Any, block: Any, x: Tensor, allowed: Tensor, types: Tensor | None) -> Tensor:
    """The same, which takes tokens first; types [tokens]."""
    assert types is not None
    count = x.shape[1]
    segments = torch.nn.functional.one_hot((types[:, None] != types[None]).long(), 2)[:, :, None].float()
    mask = (~allowed).float()[:, :, None, None]
    distances = base.relative_positional_encoding(count, count, bsz=1)
    out: Tensor = block(x.transpose(0, 1), None, mask, None, distances, segments)[0]
    return out.transpose(0, 1)


def oracle(base: Any, plan: Plan, example: Sequence[Segment]) -> Tensor:
    """Last states [tokens of all roles, H] of one example, whatever budgets drop of them; see `oracle_kept`."""
    return oracle_kept(base, plan, example)[0]


def oracle_kept(base: Any, plan: Plan, example: Sequence[Segment]) -> tuple[Tensor, Tensor]:
    """Last states [tokens of all roles, H] of one example by `transformers` itself, layer by layer, under a 4-D mask;
    and which tokens budgets left, bool [tokens]; the states of others mean nothing.

    Written against the definition of a plan (DeFormer section 3, LAIT section 3, and for `frozen` the sentence in
    plait.plan), using nothing of the executor. Of selectors it knows `first` and `norm`.
    """
    owner = torch.cat([torch.full((len(s.ids),), i) for i, s in enumerate(example)])
    restart = torch.cat([torch.arange(len(s.ids)) for s in example])
    positions = torch.arange(len(owner)) if plan.positions == "continue" else restart + plan.offset * (owner > 0)
    given = inputs(base, example, positions)
    types = given["token_type_ids"][0] if "token_type_ids" in given else None
    x = embedded(base, **given)
    apart = owner[:, None] == owner[None, :]
    reader = owner == plan.roles.index(plan.reader)
    reads = apart if plan.mode != "joint" else torch.ones_like(apart)
    reads = reads | reader[:, None]
    at_join = x
    alive = torch.ones(len(owner), dtype=torch.bool)
    for number, block in enumerate(layers_of(base)):
        for budget in plan.keep:
            if (plan.join if budget.layer is None else budget.layer) == number:
                mine = owner == plan.roles.index(budget.role)
                alive = alive & ~(mine & ~_left(x[0], plan, mine, mine & alive, budget.tokens))
        if number == plan.join:
            at_join = x
        allowed = (apart if number < plan.join else reads) & (alive | torch.eye(len(owner), dtype=torch.bool))
        if plan.mode == "frozen" and number >= plan.join:
            x = torch.where(reader[:, None], x, at_join)
        x = run_layer(base, block, x, allowed, types)
    if base.config.model_type == "modernbert":
        x = base.final_norm(x)
    if base.config.model_type in WRITING:
        x = base.final_layer_norm(x)
    last: Tensor = x[0]
    return last, alive


def _left(x: Tensor, plan: Plan, mine: Tensor, alive: Tensor, tokens: float) -> Tensor:
    """Which of one role's living tokens a budget leaves."""
    places = alive.nonzero().flatten().tolist()
    if not places:
        return alive
    protected = [places[0], places[-1]][: 2 if plan.protect == "ends" else 1]
    wanted = max(len(set(protected)), int(tokens) if tokens >= 1 else math.ceil(tokens * int(mine.sum())))
    order = places if plan.selector == "first" else sorted(places, key=lambda i: -float(x[i].norm()))
    chosen = list(dict.fromkeys([*protected, *order]))[:wanted]
    return torch.zeros_like(alive).index_fill(0, torch.tensor(chosen), True)


def of_role(x: Tensor, example: Sequence[Segment], role: int) -> Tensor:
    """The rows of `oracle`'s result that belong to one role."""
    begin = sum(len(s.ids) for s in example[:role])
    return x[begin : begin + len(example[role].ids)]
