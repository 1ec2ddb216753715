"""Small real tokenizers of every kind that the families have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.kinds import CLOSING, COUNTING_FROM_PADDING, WITHOUT_TYPES, WRITING

WORDS = """river stone copper lantern winter garden music engine harbour silver bridge castle doctor letter market
mountain orchard painter queen railway sailor teacher village window yellow who what when where why which wrote built
found the a of in and to was is by on for with from it its ##s ##ed ##ing ##er ##ly""".split()
LETTERS = [chr(c) for c in range(33, 127) if not chr(c).isupper()] + list("ßøñ河水石中文한國😀👍")


def small_tokenizer(model_type: str = "bert") -> PreTrainedTokenizerFast:
    """A real tokenizer: WordPiece in lower case as BERT's, or byte-level BPE as RoBERTa's for its families and for
    EuroBERT, or Unigram in lower case as ALBERT's and DeBERTa's. MPNet's is WordPiece in a pair as RoBERTa's.
    """
    if model_type in ("albert", "deberta-v2"):
        return _accentless()
    if model_type in CLOSING:
        return _closing()
    if model_type in WRITING:
        return _ending()
    if model_type in {*COUNTING_FROM_PADDING, "eurobert"} - {"mpnet"}:
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


def _unigram(special: Sequence[str], normalizer: normalizers.Normalizer, **frame: Any) -> Tokenizer:
    """Pieces of one letter and whole words, a blank before each; `frame` is what TemplateProcessing takes."""
    pieces = [("▁", -9.0), *((c, -9.0) for c in LETTERS), *((f"▁{w}", -5.0) for w in WORDS if w.isalpha())]
    unknown = special.index("<unk>")
    core = Tokenizer(models.Unigram([*((w, 0.0) for w in special), *pieces], unk_id=unknown, byte_fallback=False))
    core.normalizer = normalizer
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    core.decoder = decoders.Metaspace()
    core.post_processor = processors.TemplateProcessing(**frame)
    return core


def _accentless() -> PreTrainedTokenizerFast:
    """Unigram as ALBERT's and DeBERTa's."""
    lower = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    core = _unigram(
        ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], normalizers.Sequence(lower),
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def _closing() -> PreTrainedTokenizerFast:
    """Unigram as XLNet's, whose classification token stands behind all texts and is of a type of its own."""
    core = _unigram(
        ["<unk>", "<pad>", "<sep>", "<cls>", "<mask>"], normalizers.Lowercase(),
        single="$A:0 <sep>:0 <cls>:2", pair="$A:0 <sep>:0 $B:1 <sep>:1 <cls>:2",
        special_tokens=[("<sep>", 2), ("<cls>", 3)],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", sep_token="<sep>", cls_token="<cls>",
        mask_token="<mask>", padding_side="left", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def _ending() -> PreTrainedTokenizerFast:
    """Unigram as T5's, with nothing before a text and `</s>` behind it."""
    core = _unigram(
        ["<pad>", "</s>", "<unk>"], normalizers.Lowercase(),
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)],
    )  # fmt: skip
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
