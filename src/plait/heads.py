"""What turns states into scores, classes and spans: the checkpoint's own heads, fed by what the plan says they read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plait.errors import FallbackWarning, PlaitError
from plait.families import classifier, pooler, span_outputs
from plait.layout import Layout
from plait.plan import FULL, VECTORS, Plan, Positions

HEADS = ("score", "span", "text")
"""`score`: sequence classification, read from the reader's first token (or the mean of all). `span`: question
answering, from all its tokens. `text`: a decoder that writes, from all tokens of the example; see plait.writer.
"""


LOWEST = float(np.finfo(np.float32).min)
"""The score of an answer where there is none."""


class Score(nn.Module):
    """A `...ForSequenceClassification` or `...ForMultipleChoice` head: [B, H] -> logits [B, labels].

    Args:
        pooler: [B, 1, H] -> [B, H], or None where the classifier reads [B, 1, H].
        own: the modules of these that are not the encoder's, by the names that the checkpoint gives them.
        choice: whether it is the latter, which has one label.
    """

    def __init__(
        self,
        pooler: nn.Module | None,
        dropout: nn.Module | None,
        classifier: nn.Module,
        own: Mapping[str, nn.Module],
        choice: bool = False,
    ) -> None:
        super().__init__()
        self.pooler, self.dropout, self.classifier, self.choice = pooler, dropout, classifier, choice
        self._own = dict(own)  # in a dict they are not registered a second time

    def forward(self, first: Tensor) -> Tensor:
        """First tokens' last states [B, H] -> logits [B, labels], in the dtype of the states."""
        x = first[:, None]  # transformers' heads take [B, tokens, H] and read token 0
        if self.pooler is None:
            return self.classifier(x)  # type: ignore[no-any-return]
        x = self.pooler(x)
        return self.classifier(x if self.dropout is None else self.dropout(x))  # type: ignore[no-any-return]

    def saved(self) -> dict[str, Tensor]:
        """Weights as a checkpoint names them beside the encoder's, e.g. `classifier.weight`."""
        return {f"{name}.{k}": v for name, module in self._own.items() for k, v in module.state_dict().items()}


class Span(nn.Module):
    """A `...ForQuestionAnswering` head: [T, H] -> start and end logits [T, 2], by a linear layer or several modules.

    Args:
        kind: what the class that has it is called behind the family's name.
    """

    def __init__(self, outputs: nn.Module, kind: str = "ForQuestionAnswering") -> None:
        super().__init__()
        self.qa_outputs, self.kind = outputs, kind

    def forward(self, states: Tensor) -> Tensor:
        """The reader's last states [T, H] -> logits [T, 2]."""
        return self.qa_outputs(states)  # type: ignore[no-any-return]

    def saved(self, beside_score: bool) -> dict[str, Tensor]:
        """Weights as a checkpoint names them; several modules are parts of `qa_outputs` only beside a score head, which
        in such families has the same names.
        """
        alone = not isinstance(self.qa_outputs, nn.Linear) and not beside_score
        return dict((self.qa_outputs if alone else self).state_dict())


@dataclass(frozen=True)
class SpanAnswer:
    """The best span of one example: token numbers within its reader segment, inclusive, and its score (a logit sum)."""

    first: int
    last: int
    score: float


@dataclass(frozen=True)
class SpanFound:
    """An answer: characters [start, end) of the text it stands in, and its score: start + end logit, less those of no
    answer where the model can say that.
    """

    text: str
    start: int
    end: int
    score: float


def best_spans(logits: Tensor, layout: Layout, allowed: Tensor, longest: int = 30) -> list[SpanAnswer]:
    """The highest start + end for every group.

    Args:
        logits: [T, 2].
        layout: groups of the reader's tokens.
        allowed: bool [T]; False for special tokens, which are never part of an answer.
        longest: most tokens an answer may have (DeFormer, BERT's SQuAD decoding: 30).
    """
    logits = logits.float().masked_fill(~allowed[:, None], float("-inf"))
    padded = layout.pad(logits).masked_fill(~layout.mask[..., None], float("-inf"))  # [G, M, 2]
    start, end = padded[..., 0], padded[..., 1]
    length = start.shape[1]
    scores = start[:, :, None] + end[:, None, :]  # [G, M, M]
    band = torch.ones(length, length, dtype=torch.bool, device=scores.device).triu().tril(longest - 1)
    scores = scores.masked_fill(~band, float("-inf")).flatten(1)
    best, place = scores.max(1)
    rows: Sequence[tuple[float, int]] = list(zip(best.tolist(), place.tolist(), strict=True))
    return [SpanAnswer(place // length, place % length, value) for value, place in rows]


def spans_found(
    logits: Tensor, layout: Layout, known: Sequence[tuple[str, NDArray[np.int32]]], no_answer: bool
) -> list[SpanFound]:
    """The best span of every example, in characters of its text.

    Args:
        logits: [T, 2], packed by layout.
        known: each example's text and token offsets.
        no_answer: take off the logits of no answer, which are those of each group's last token.
    """
    words = np.concatenate([offsets[:, 1] > offsets[:, 0] for _, offsets in known])
    allowed = torch.zeros(layout.tokens, dtype=torch.bool)
    allowed[: layout.used] = torch.from_numpy(words)
    found = best_spans(logits, layout, allowed.to(logits.device))
    none = torch.zeros(len(known), device=logits.device)
    if no_answer:
        none = logits[layout.starts + layout.lengths_tensor - 1].sum(-1)
    answers: list[SpanFound] = []
    for (text, offsets), span, nothing in zip(known, found, none.tolist(), strict=True):
        if not np.isfinite(span.score) and not np.isneginf(span.score):
            raise PlaitError(
                f"scores must be finite numbers, but those of a span are {span.score}; load the model in float32, "
                "check its weights or, of a store, run plait verify"
            )
        if np.isneginf(span.score):  # a budget left no word
            answers.append(SpanFound("", 0, 0, LOWEST))
            continue
        start, end = int(offsets[span.first, 0]), int(offsets[span.last, 1])
        answers.append(SpanFound(text[start:end], start, end, span.score - nothing))
    return answers


def restored(logits: Tensor, layout: Layout, places: Tensor, whole: Layout) -> Tensor:
    """Logits [K, 2] of the tokens that budgets left, put where the tokens were: [T, 2], minus infinity elsewhere.

    Args:
        layout: of the tokens left; whole: of all tokens of the same segments.
        places: which token of its segment each is, int64 [K].
    """
    begin = whole.starts.repeat_interleave(layout.lengths_tensor)
    full = logits.new_full((whole.tokens, logits.shape[1]), float("-inf"))
    return full.index_copy(0, begin + places[: layout.used], logits[: layout.used])


def score_head(model: Any) -> Score:
    """The head of a `...ForSequenceClassification` or `...ForMultipleChoice` model: all that it has beside the encoder,
    and the pooler.
    """
    own = {name: module for name, module in model.named_children() if name != model.base_model_prefix}
    choice = type(model).__name__.endswith("ForMultipleChoice")
    summary = getattr(model, "sequence_summary", None)  # where it is of another make than classification's
    return Score(
        pooler(model) if summary is None else summary, getattr(model, "dropout", None), classifier(model), own, choice
    )


def span_head(model: Any) -> Span:
    """The head of a `...ForQuestionAnswering` model."""
    name = type(model).__name__
    return Span(span_outputs(model), name[name.index("For") :])


def default_activation(config: Any) -> nn.Module:
    """What sentence-transformers' CrossEncoder applies to a score head's logits where nothing else is asked for."""
    named = (getattr(config, "sentence_transformers", None) or {}).get("activation_fn")
    named = named or getattr(config, "sbert_ce_default_activation_function", None)
    if named is None:
        return nn.Sigmoid() if config.num_labels == 1 else nn.Identity()
    kind = getattr(nn, str(named).rpartition(".")[2], None)
    if not str(named).startswith("torch.nn.") or kind is None:
        raise PlaitError(
            f"a checkpoint's activation_fn must be one of torch.nn, but is {named!r}; name one in its config.json"
        )
    return kind()  # type: ignore[no-any-return]


def class_names(config: Any) -> tuple[str, ...]:
    """The names of a score head's labels, in order; those that `transformers` makes up are plain numbers here."""
    names = dict(getattr(config, "id2label", None) or {})
    return tuple(str(names[i]).removeprefix("LABEL_") for i in sorted(names))


def head_plans(
    heads: Sequence[str],
    plan: str | Plan | Mapping[str, str | Plan] | None,
    saved: Mapping[str, Plan],
    begin: Positions = 0,
    pool: str = "",
) -> dict[str, Plan]:
    """The plan of every head: the given one, else the saved one, else the full pair model.

    Plans in text form need not say where positions begin: where the saved ones do, for the model was trained so, else
    at `begin`, if all texts meet at once. Nor need they say by which `pool` a text becomes the one vector that they
    compare, nor the roles of a model that was saved with others than usual.

    One plan given for all heads is the span head's as far as that can have it: it reads the passage's tokens, all of
    them whatever the budget, and `joint`; what is `oneway`, `frozen` or compared leaves it the saved plan, if there is
    one that fits. A FallbackWarning says so.
    """
    given = _given(plan)
    shared = isinstance(given, str | Plan) and len(heads) > 1
    by_head = dict.fromkeys(heads, given) if isinstance(given, str | Plan) else given
    said = {head: _said(one, saved.get(head)) for head, one in by_head.items()}
    found = {head: Plan.from_dict(fields) for head, fields in said.items()}
    trained = [one.offset for one in saved.values() if one.positions != "continue"]
    if trained:
        begin = trained[0]
    elif any("positions" in fields for fields in said.values()) or any(
        p.join or not p.others() for p in found.values()
    ):
        begin = 0
    pool = next((one.pool for one in saved.values() if one.compare in VECTORS), pool)
    for head, one in found.items():
        positions = begin if begin and "positions" not in said[head] else one.positions
        pooled = pool if pool and one.compare in VECTORS and "pool" not in said[head] else one.pool
        found[head] = replace(one, positions=positions, pool=pooled)  # type: ignore[arg-type]
    if shared and "span" in found:
        found["span"] = _shared(found["span"], saved.get("span"))
    found = {head: _for_head(head, one) for head, one in found.items()}
    return {head: found.get(head) or saved.get(head) or _for_head(head, FULL) for head in heads}


def require_heads(
    plan: str | Plan | Mapping[str, str | Plan] | None, wanted: Sequence[str], there: Sequence[str]
) -> None:
    """PlaitError if a plan is given for a head that was wanted and that the checkpoint lacks."""
    given = _given(plan)
    missing = [] if isinstance(given, str | Plan) else [h for h in given if h in wanted and h not in there]
    if missing:
        raise PlaitError(
            f"plans are for heads that the checkpoint has ({', '.join(there) or 'none'}), but one is for "
            f"{missing[0]!r}; leave it out, or train that head first"
        )


def _given(plan: str | Plan | Mapping[str, str | Plan] | None) -> str | Plan | Mapping[str, str | Plan]:
    """The one plan for all heads, or those of some by name."""
    given = _each(plan) if isinstance(plan, str) and ":" in plan and not plan.lstrip().startswith("{") else plan
    if isinstance(given, str | Plan):
        return given
    given = given or {}
    if not isinstance(given, Mapping) or not all(isinstance(one, str | Plan) for one in given.values()):
        raise PlaitError(
            f"a plan must be a text, a Plan, or one of these for each head by name, but is {plan!r:.60}; e.g. 'join=4'"
        )
    if unknown := [head for head in given if head not in HEADS]:
        raise PlaitError(
            f"plans are given for the heads {', '.join(HEADS)}, but one is for {unknown[0]!r}; leave it out"
        )
    return given


def _said(plan: str | Plan, saved: Plan | None) -> Mapping[str, object]:
    """The fields that a plan says, and the unusual roles that a text form need not say."""
    if isinstance(plan, Plan):
        return plan.to_dict()
    fields = Plan.fields(plan)
    if saved is None or saved.roles == FULL.roles or "roles" in fields:
        return fields
    return {"roles": saved.roles, "known": saved.known, "reader": saved.reader, **fields}


def _shared(plan: Plan, saved: Plan | None) -> Plan:
    """What the span head has of a plan that is given for all heads."""
    if plan.mode == "joint" and plan.compare == "none":
        fewer = tuple(budget for budget in plan.keep if budget.role != _for_head("span", plan).reader)
        if fewer != plan.keep:
            _say(f"reads all tokens, whatever the budget in {plan}")
        return replace(plan, keep=fewer)
    fits = saved is not None and saved.positions == plan.own_positions and saved.roles == plan.roles
    if saved is not None and fits:
        _say(f"keeps its plan, {saved}, for it cannot have {plan}")
        return saved
    if plan.compare != "none":
        return plan  # which is refused
    found = _shared(replace(plan, mode="joint", states="hidden"), None)
    _say(f"has {_for_head('span', found)}, for it cannot have {plan}")
    return found


def _say(how: str) -> None:
    warnings.warn(
        f"the span head {how}; give each head a plan of its own, 'score: …; span: …', for another",
        FallbackWarning,
        stacklevel=5,
    )


def compared(plan: str | Plan | Mapping[str, str | Plan] | None) -> str:
    """How a given plan makes the score head a dual encoder's, which a checkpoint without a head can have; or `none`."""
    try:
        return head_plans(["score"], plan, {})["score"].compare if plan is not None else "none"
    except PlaitError:  # said with the checkpoint's own heads
        return "none"


def _each(text: str) -> dict[str, str]:
    """`score: join=4; span: join=3` by head."""
    plans: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        head, colon, plan = (p.strip() for p in part.partition(":"))
        if not colon or head in plans:
            raise PlaitError(
                f"plans are written 'score: join=4,mode=oneway; span: join=3', each head once, but {part!r} "
                f"{'names its head again' if colon else 'names no head'} in {text!r}"
            )
        plans[head] = plan
    return plans


def _for_head(head: str, plan: Plan) -> Plan:
    if head == "span" and plan.compare != "none":
        raise PlaitError(
            f"the span head reads answers from tokens that read both texts, but its plan has compare={plan.compare}; "
            f"give every head a plan of its own, e.g. 'score: {plan}; span: join=3'"
        )
    if head == "span" and plan.mode != "joint":
        raise PlaitError(
            f"the span head reads its answer from the passage's tokens and needs mode=joint, but its plan has mode="
            f"{plan.mode}; give every head a plan of its own, e.g. 'score: {plan}; span: join={plan.join}'"
        )
    if head == "text" and (plan.mode != "joint" or plan.compare != "none"):
        raise PlaitError(
            f"the text head writes from all tokens of an example and needs mode=joint and compare=none, but its plan "
            f"is {plan}; give join={plan.join}"
        )
    if head == "span" and plan.reader not in plan.known and len(plan.roles) > 1:
        return replace(plan, reader=plan.known[0] if plan.known else plan.roles[1])
    return plan
