"""What a pair model scores: rows of texts, of what was computed of them before, or of nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.errors import PlaitError, TruncationWarning, require_least
from plait.head_plans import turned
from plait.keep import EXACT, recipe_of
from plait.layout import Layout
from plait.plan import Plan
from plait.scoring import require_finite, require_one_label
from plait.states import States, as_read
from plait.store import Codec
from plait.text import Segment, Tokens, batches, fit, require_list, require_texts

if TYPE_CHECKING:
    from plait.model import Plait
    from plait.writer import Writer


@dataclass(frozen=True)
class Encoded:
    """One known text: its states, and the characters that its tokens stand for.

    Attributes:
        states: tensors by name, each [tokens, H], or fewer rows where the name says so; see `Plan.needs`.
        offsets: int32 [tokens, 2], characters of the text; (0, 0) for special tokens.
        cut: tokens that the model could not read.
        made_by: hashes of the model and of how it reads the role; another's are refused, but not what says nothing.
    """

    states: dict[str, Tensor]
    offsets: NDArray[np.int32]
    cut: int
    made_by: str = ""


Part = str | Encoded | None
"""One role's part of an example: a text, its states, or nothing."""
Read = Callable[[list[tuple[Part, ...]]], list[tuple[Part, ...]]]
"""Rows -> the same with states in the place of some texts."""


def as_rows(
    plan: Plan, inputs: Sequence[Sequence[Part]] | tuple[Part, ...] | str
) -> tuple[list[tuple[Part, ...]], bool]:
    """Examples, one part a role each, and whether a single one was given; PlaitError for what is none."""
    alone = len(plan.roles) == 1
    some: list[object] = [inputs]
    single = isinstance(inputs, str)
    if not single:
        some = require_list("examples", inputs)
        if not alone and some and isinstance(some[0], str | Encoded):
            some, single = [some], True
    rows = [_row(plan, number, row) for number, row in enumerate(some)]
    for role, column in zip(plan.roles, zip(*rows, strict=True), strict=False):
        there = [number for number, part in enumerate(column) if part is not None and not isinstance(part, Encoded)]
        require_texts(role, [column[number] for number in there], there)
        if len(plan.roles) < 3 and None in column:
            raise PlaitError(
                f"an example of {' and '.join(plan.roles)} must have all of them, but number {column.index(None)} has "
                f"no {role}; leave it out"
            )
    return rows, single


def _row(plan: Plan, number: int, row: object) -> tuple[Part, ...]:
    if len(plan.roles) == 1 and isinstance(row, str | Encoded):
        return (row,)
    if isinstance(row, str | Mapping) or not isinstance(row, Iterable):
        raise PlaitError(
            f"an example must be a list of {len(plan.roles)} texts ({', '.join(plan.roles)}), but number {number} is "
            f"{row!r:.40}; pass ({', '.join(plan.roles)})"
        )
    parts = tuple(row)
    if len(parts) != len(plan.roles):
        raise PlaitError(
            f"an example must have {len(plan.roles)} texts ({', '.join(plan.roles)}), but number {number} has "
            f"{len(parts)}; give one a role"
        )
    return parts


def made_by(model: Plait, role: str) -> str:
    """What the states of a role's texts depend on beside the texts: weights, tokenizer, framing, first position."""
    hashes = model.fingerprint
    return f"{hashes['model']} {hashes['tokenizer']} {model.text.reading(role)}"


def encoded(model: Plait, role: str, texts: Sequence[str], names: Sequence[str], batch_tokens: int) -> list[Encoded]:
    """The tensors `names` of texts of one role, in the order given, some `batch_tokens` tokens computed at once."""
    segments = model.segments(role, texts)
    results: list[Encoded | None] = [None] * len(segments)
    multiple, maker = 64 if len(segments) > 8 else 1, made_by(model, role)
    with torch.inference_mode():
        for batch in batches(segments, batch_tokens):
            states = model.own([segments[i] for i in batch], names, multiple=multiple)
            pieces = {}
            for name, x in states.tensors.items():
                layout = states.rows(recipe_of(name))
                pieces[name] = x[: layout.used].cpu().split(layout.lengths)
            for number, i in enumerate(batch):
                kept = {name: some[number].clone() for name, some in pieces.items()}
                results[i] = Encoded(kept, np.array(segments[i].offsets, np.int32), segments[i].cut, maker)
    return [result for result in results if result is not None]


def as_stored(one: Encoded, codec: str) -> Encoded:
    """The same as a store with this codec would give it back."""
    writer = Codec(codec, [(name, x.shape[1]) for name, x in one.states.items()])
    count = len(one.offsets)
    half = all(x.dtype == torch.bfloat16 for name, x in one.states.items() if not name.startswith(EXACT))
    back = writer.decode([writer.encode(one.states, count)], [count], dtype=torch.bfloat16 if half else torch.float32)
    return replace(one, states=back)


def predicted(
    model: Plait,
    inputs: Sequence[Sequence[Part]] | tuple[Part, ...] | str,
    batch_size: int,
    show_progress_bar: bool | None,
    activation_fn: Callable[[Tensor], Tensor] | None,
    apply_softmax: bool,
    read: Read = list,
) -> NDArray[np.float32]:
    """See `Plait.predict`; what `read` makes of the rows of each batch is what is scored."""
    rows, single = as_rows(model.plan("score"), inputs)
    logits = _logits(model, rows, batch_size, show_progress_bar, read)
    scores = (activation_fn or model.activation())(logits)
    if apply_softmax and logits.shape[1] > 1:
        scores = scores.softmax(-1)
    values: NDArray[np.float32] = scores.squeeze(-1).numpy() if logits.shape[1] == 1 else scores.numpy()
    return values[0] if single else values


def ranked(
    model: Plait,
    query: str,
    documents: Sequence[str | Encoded],
    top_k: int | None,
    return_documents: bool,
    batch_size: int,
    show_progress_bar: bool | None,
    activation_fn: Callable[[Tensor], Tensor] | None,
    read: Read = list,
) -> list[dict[str, object]]:
    """See `Plait.rank`, and `read` as above."""
    if top_k is not None:
        require_least("top_k", top_k, "10 is usual")
    require_least("batch_size", batch_size, "32 is the default")
    require_one_label(model)
    documents = require_list("documents", documents)
    plan = model.plan("score")
    second = turned(plan)
    asked: Part = query
    rows, _ = as_rows(plan, [(document, asked) if second else (asked, document) for document in documents])
    if plan.join and len(rows) > batch_size and isinstance(query, str):  # or every batch would read it anew
        role = plan.roles[second]
        [asked] = model.encode(role, [query], plan.needs(role, model.layers))
        rows = [(document, asked) if second else (asked, document) for document in documents]
    logits = _logits(model, rows, batch_size, show_progress_bar, read)
    require_finite(logits.numpy())
    order = np.argsort(-logits[:, 0].numpy(), kind="stable")[:top_k]  # a sigmoid ties the best ones
    scores = (activation_fn or model.activation())(logits).squeeze(-1)
    found: list[dict[str, object]] = [{"corpus_id": int(i), "score": float(scores[i])} for i in order]
    if return_documents:
        for row, i in zip(found, order, strict=True):
            row["text"] = documents[i]
    return found


def _logits(
    model: Plait, rows: Sequence[tuple[Part, ...]], batch_size: int, show_progress_bar: bool | None, read: Read
) -> Tensor:
    """Logits float32 [N, labels] of the score head. A text that recurs in a batch is computed once; under the full
    plan, where that saves nothing, rows of like length share a batch.
    """
    from tqdm.auto import tqdm

    require_least("batch_size", batch_size, "32 is the default")
    if model.training:  # asking walks through all modules, a millisecond of every query
        model.eval()
    plan = model.plan("score")
    hidden = not (len(rows) > 1000 if show_progress_bar is None else show_progress_bar)
    order = list(range(len(rows)))
    if plan.join == 0:
        order.sort(key=lambda i: sum(map(_characters, rows[i])))
    found: list[Tensor] = []
    with torch.inference_mode(), tqdm(total=len(rows), desc="pairs", unit="pair", disable=hidden) as bar:
        for begin in range(0, len(rows), batch_size):
            batch = read([rows[i] for i in order[begin : begin + batch_size]])
            states, examples = states_of(model, plan, batch)
            logits, _ = model.logits("score", states, examples)
            bar.update(len(batch))
            found.append(logits.cpu())
    if not found:
        return torch.zeros(0, int(model.config.num_labels))
    return torch.cat(found)[torch.tensor(order).argsort()]


def write_rows(
    model: Plait, rows: Sequence[tuple[Part, ...]], batch_size: int, *, max_new_tokens: int, num_beams: int
) -> list[str]:
    """What the text head writes for each row, `batch_size` of them read at once."""
    plan, written = model.plan("text"), list[str]()
    writer = cast("Writer", model.heads["text"])
    with torch.inference_mode():
        for begin in range(0, len(rows), batch_size):
            states, examples = states_of(model, plan, rows[begin : begin + batch_size])
            joined = model.encoder.join(plan, states, examples, "whole")
            ids = writer.write(joined.states, joined.layout, max_new_tokens=max_new_tokens, num_beams=num_beams)
            written += model.tokenizer.batch_decode(ids, skip_special_tokens=True)
    return written


def _characters(part: Part) -> int:
    if isinstance(part, Encoded):
        return int(part.offsets.max(initial=0))
    return len(part) if isinstance(part, str) else 0


def states_of(model: Plait, plan: Plan, rows: Sequence[tuple[Part, ...]]) -> tuple[dict[str, States], Tensor]:
    """What a plan reads of rows: states of every role, and int64 [B, roles], which of them each row is made of."""
    return (_continued if plan.positions == "continue" else _own)(model, plan, rows)


def _own(model: Plait, plan: Plan, rows: Sequence[tuple[Part, ...]]) -> tuple[dict[str, States], Tensor]:
    """States of every role, each part once, and which of them each row is made of."""
    states, columns = {}, []
    for column, role in enumerate(plan.roles):
        parts = [row[column] for row in rows]
        if role == plan.reader and None in parts:
            raise PlaitError(f"an example may lack any text but the {role}, from which the answer is read; give that")
        texts = list(dict.fromkeys(part for part in parts if isinstance(part, str)))
        known = list({id(part): part for part in parts if isinstance(part, Encoded)}.values())
        place: dict[object, int] = {text: i for i, text in enumerate(texts)}
        place |= {id(part): len(texts) + i for i, part in enumerate(known)}
        states[role] = _together(model, role, plan.needs(role, model.layers), texts, known)
        columns.append([-1 if part is None else place[part if isinstance(part, str) else id(part)] for part in parts])
    return states, torch.tensor(columns, device=model.device).T


def _together(model: Plait, role: str, names: Sequence[str], texts: Sequence[str], known: Sequence[Encoded]) -> States:
    """Computed texts and then known ones, packed."""
    if not known:  # where all rows lack the text, something that nobody reads
        return model.own(model.segments(role, texts or ["."]), names)
    maker = made_by(model, role)
    for part in known:
        if part.made_by not in ("", maker):
            raise PlaitError(
                f"the states of a {role} must come from the model that reads them, but one comes from another, or from "
                "another role; encode it with this model"
            )
        missing = [name for name in names if name not in part.states]
        if missing:
            raise PlaitError(
                f"the states of a {role} must be those that the plan reads ({', '.join(names)}), but one lacks "
                f"{missing[0]}; encode it with this model under this plan"
            )
    made = model.own(model.segments(role, texts), names) if texts else None
    lengths = [] if made is None else made.layout.lengths
    layout = Layout([*lengths, *(len(part.offsets) for part in known)], device=model.device)
    like = next(model.parameters())
    tensors = {}
    for name in names:
        own = [] if made is None else [made.tensors[name][: made.rows(recipe_of(name)).used]]
        tensors[name] = torch.cat([*own, *(as_read(name, part.states[name], like) for part in known)])
    return States(layout, tensors)


def _continued(model: Plait, plan: Plan, rows: Sequence[tuple[Part, ...]]) -> tuple[dict[str, States], Tensor]:
    """The ordinary pair model: positions run on, so that a segment belongs to one example, and all share one room."""
    if not all(isinstance(part, str) for row in rows for part in row):
        raise PlaitError(
            "a plan with positions=continue reads whole texts only, but an example has states or nothing in place of "
            f"one; load the model with a plan such as join=1 (it has {plan})"
        )
    columns = [tokenized(model, role, [str(row[c]) for row in rows]) for c, role in enumerate(plan.roles)]
    columns = fit(columns, model.text.together)
    warn_cut("examples", model.text.together, [sum(s.cut for s in row) for row in zip(*columns, strict=True)])
    names = {role: plan.needs(role, model.layers) for role in plan.roles}
    states = running_on(model, dict(zip(plan.roles, columns, strict=True)), names)
    return states, torch.arange(len(rows), device=model.device)[:, None].expand(-1, len(plan.roles))


def running_on(
    model: Plait, segments: Mapping[str, Sequence[Segment]], names: Mapping[str, Sequence[str]], multiple: int = 1
) -> dict[str, States]:
    """What a plan with positions=continue reads, by role: segment i of every role is example i's, and counts on from
    those of the roles before.
    """
    states: dict[str, States] = {}
    first = [0] * len(next(iter(segments.values())))
    for role, some in segments.items():
        tokens = Tokens.pack(some, first_positions=first, multiple=multiple, device=model.device)
        states[role] = model.encoder.own(tokens, names[role])
        first = [begin + len(segment.ids) for begin, segment in zip(first, some, strict=True)]
    return states


def tokenized(model: Plait, role: str, texts: Sequence[str]) -> list[Segment]:
    """Segments of one role; texts that no tokenizer can read are refused."""
    if role not in model.text.roles:
        raise PlaitError(f"role must be one of {', '.join(model.text.roles)}, but is {role!r}")
    require_texts(role, texts)
    return model.text.segments(role, texts)


def warn_cut(what: str, room: int, cut: Sequence[int]) -> None:
    """Say how many tokens of which texts were left out, if any were."""
    if any(cut):
        warnings.warn(
            f"{sum(map(bool, cut))} of {len(cut)} {what} are longer than the {room} tokens this model reads; "
            f"{sum(cut)} tokens at their ends were left out",
            TruncationWarning,
            stacklevel=4,
        )
