"""The compiled kernel says what PyTorch's say; and where it cannot be compiled, they say it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait import Document, Index, Plait, kernels
from plait.attention import Hidden, attend
from plait.errors import FallbackWarning
from plait.kernels.build import cache, compiled, compiler, fits, library
from plait.layout import Layout
from plait.store.number import NUMBERS
from tests.corpus import QUESTION, TEXTS
from tests.small import small_checkpoint

fitting = pytest.mark.skipif(not fits(), reason="the processor does not multiply bfloat16")


@pytest.fixture
def afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A user whose cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    library.cache_clear()
    yield monkeypatch
    library.cache_clear()


@fitting
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_reading_is_the_formula(data: st.DataObject) -> None:
    heads, size = data.draw(st.sampled_from([(1, 32), (12, 32), (4, 64)]))
    width, groups = data.draw(st.sampled_from([32, 96, 384])), data.draw(st.integers(1, 6))
    shared = data.draw(st.booleans())
    counts = (
        [data.draw(st.integers(1, 40))] * groups if shared else data.draw(_lengths(groups, 40, least=0).filter(any))
    )
    torch.manual_seed(data.draw(st.integers(0, 99)))
    layout = Layout(counts[:1]) if shared else Layout.few_shapes(counts)
    query = torch.randn(layout.tokens, heads, width).bfloat16()
    value, bias = torch.randn(heads, size, width).bfloat16(), torch.randn(heads, size).bfloat16()
    parts = []
    for number in range(data.draw(st.integers(1, 3))):
        of = Layout(data.draw(_lengths(groups, 90, least=int(number == 0))))
        rows = torch.randint(0, 50, (of.tokens,)) if data.draw(st.booleans()) else None
        count = of.tokens if rows is None else 50
        sizes = torch.randint(1, 60, (count,)).float() if data.draw(st.booleans()) else None
        parts.append((of, torch.randn(count, width).bfloat16(), rows, sizes))
    found = kernels.read(query, layout, parts, value, bias, 0.1).double()

    expected = []
    for group in range(groups):
        mine = query[: layout.used] if shared else query[layout.part(slice(group, group + 1))[0]]
        states, logs = [], []
        for of, x, rows, sizes in parts:
            at = torch.arange(of.tokens)[of.part(slice(group, group + 1))[0]]
            at = at if rows is None else rows[at]
            states.append(x[at])
            logs.append(torch.zeros(len(at)) if sizes is None else sizes[at].log())
        x = torch.cat(states).double()
        scores = torch.einsum("tah,kh->tak", mine.double(), x) * 0.1 + torch.cat(logs).double()
        mean = scores.softmax(-1) @ x
        expected.append(torch.einsum("tah,adh->tad", mean, value.double()) + bias.double())
    whole = torch.cat(expected)
    torch.testing.assert_close(found[: len(whole)], whole, atol=0.02 * float(whole.abs().max()), rtol=0)
    assert not found[len(whole) :].any()


@fitting
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_attending_is_the_formula_and_so_are_its_gradients(data: st.DataObject) -> None:
    heads, size = data.draw(st.sampled_from([(1, 32), (5, 32), (4, 64), (1, 384)]))
    groups, torch_seed = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 99))
    torch.manual_seed(torch_seed)
    layout = Layout.few_shapes(data.draw(_lengths(groups, 80, least=0).filter(any)))
    layouts = [Layout(data.draw(_lengths(groups, 90, least=int(i == 0)))) for i in range(data.draw(st.integers(1, 3)))]
    leaves = [torch.randn(of.tokens, heads, size).bfloat16() for of in (layout, *layouts, *layouts)]
    slope = torch.randn(layout.tokens, heads, size).bfloat16()
    mine = [x.clone().requires_grad_() for x in leaves]
    parts = list(zip(layouts, mine[1 : 1 + len(layouts)], mine[1 + len(layouts) :], strict=True))
    found = kernels.attend(mine[0], layout, parts, size**-0.5)
    gradients = torch.autograd.grad(found, mine, slope)

    exact = [x.double().requires_grad_() for x in leaves]
    query, keys, values = exact[0], exact[1 : 1 + len(layouts)], exact[1 + len(layouts) :]
    expected = torch.zeros(slope.shape, dtype=torch.float64)
    for group in range(groups):
        at = layout.part(slice(group, group + 1))[0]
        tokens = [of.part(slice(group, group + 1))[0] for of in layouts]
        key, value = (torch.cat([x[t] for x, t in zip(some, tokens, strict=True)]) for some in (keys, values))
        weights = (torch.einsum("tad,kad->atk", query[at], key) * size**-0.5).softmax(-1)
        context = torch.einsum("atk,kad->tad", weights, value)
        expected = torch.index_put(expected, (torch.arange(len(expected))[at],), context)
    assert not found[layout.used :].any()
    _close(found, expected)
    for gradient, wanted in zip(gradients, torch.autograd.grad(expected, exact, slope.double()), strict=True):
        _close(gradient, wanted)


def _close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within what bfloat16 rounds."""
    largest = expected.detach().abs().amax() if expected.numel() else 0.0
    torch.testing.assert_close(found.detach().double(), expected.detach(), atol=0.02 * float(largest) + 1e-4, rtol=0)


@fitting
def test_only_what_it_attends_to_is_given_to_it() -> None:
    layout, x = Layout([3, 4]), torch.zeros(7, 2, 32).bfloat16()
    assert kernels.can_attend(x, layout, [(layout, x, x)])
    assert not kernels.can_attend(x.float(), layout, [(layout, x, x)])
    assert not kernels.can_attend(x, layout, [(layout, x, x.float())])
    assert not kernels.can_attend(x[..., :16], layout, [(layout, x[..., :16], x[..., :16])])
    assert not kernels.can_attend(x, Layout([7]), [(layout, x, x)])  # one group for all


def _lengths(groups: int, most: int, least: int = 1) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(least, most), min_size=groups, max_size=groups)


@fitting
@pytest.mark.parametrize(("codec", "width"), [("int8", 48), ("int4", 64), ("int4", 384)])
@pytest.mark.parametrize("rows", [1, 77])
def test_unpacking_is_pytorchs_to_the_last_bit(afresh: pytest.MonkeyPatch, codec: str, width: int, rows: int) -> None:
    """Of the smallest numbers too."""
    number, x = NUMBERS[codec], torch.randn(rows, width) * torch.logspace(-39, 30, rows)[:, None]
    packed, fast, plain = number.pack(x), *torch.empty(2, rows, width).bfloat16()
    assert (kernels.unpack if codec == "int8" else kernels.unpack4)(packed, fast)
    afresh.setenv("PLAIT_KERNELS", "0")
    library.cache_clear()
    number.unpack(packed, plain)
    assert torch.equal(fast, plain) and fast.count_nonzero() > rows


@fitting
def test_only_whole_steps_of_int4_are_given_to_it() -> None:
    """A group of 32 in both halves of a row would get the scale of another."""
    number, x = NUMBERS["int4"], torch.randn(5, 96)
    packed, out = number.pack(x), torch.zeros(5, 96).bfloat16()
    assert not kernels.unpack4(packed, out) and not kernels.unpack4(packed, out.float()) and not out.any()


@fitting
def test_a_group_is_computed_alike_in_any_company() -> None:
    """To the last bit: a passage's score does not depend on the other candidates."""
    torch.manual_seed(0)
    lengths = [5, 170, 64, 33, 1]
    of, width = Layout(lengths), 64
    query, states = torch.randn(7, 4, width).bfloat16(), torch.randn(of.tokens, width).bfloat16()
    value, bias = torch.randn(4, 32, width).bfloat16(), torch.randn(4, 32).bfloat16()
    together = kernels.read(query, Layout([7]), [(of, states, None, None)], value, bias, 0.1)
    for group, length in enumerate(lengths):
        tokens, alone = of.part(slice(group, group + 1))
        assert alone.lengths == [length]
        found = kernels.read(query, Layout([7]), [(alone, states[tokens], None, None)], value, bias, 0.1)
        assert torch.equal(found, together[7 * group : 7 * group + 7])
    keys = torch.randn(of.tokens, 4, 32).bfloat16()
    together = kernels.attend(keys, of, [(of, keys, keys)], 0.1)
    for group in range(len(lengths)):
        tokens, alone = of.part(slice(group, group + 1))
        found = kernels.attend(keys[tokens], alone, [(alone, keys[tokens], keys[tokens])], 0.1)
        assert torch.equal(found, together[tokens])


@fitting
def test_only_what_it_reads_is_given_to_it() -> None:
    """Other numbers, or widths that are no multiple of 32, would be read as what they are not."""
    query, states, value = torch.zeros(1, 2, 64).bfloat16(), torch.zeros(3, 64).bfloat16(), torch.zeros(2, 32, 64)
    of, value = Layout([3]), value.bfloat16()
    assert kernels.can_read(query, [(of, states, None, None)], value)
    assert not kernels.can_read(query.float(), [(of, states, None, None)], value)
    assert not kernels.can_read(query, [(of, states, None, None), (of, states.float(), None, None)], value)
    assert not kernels.can_read(query, [(of, states, None, None)], value[:, :8])
    assert not kernels.can_read(query[..., :48], [(of, states[:, :48], None, None)], value[..., :48])


@fitting
def test_attend_uses_it(afresh: pytest.MonkeyPatch) -> None:
    """And without it says the same, within what bfloat16 rounds."""
    torch.manual_seed(0)
    of = Layout([30, 7, 65])
    states = torch.randn(of.tokens, 128).bfloat16()
    key, value = torch.randn(2, 4, 32, 128).bfloat16() / 10
    source = Hidden(of, states, key, value, torch.randn(4, 32).bfloat16())
    query = torch.randn(3, 4, 32).bfloat16()
    with torch.inference_mode():
        compiled_ = attend(query, Layout([3]), [source], 0.2)
        assert list(cache().glob("kernels-*.so"))
        afresh.setenv("PLAIT_KERNELS", "0")
        library.cache_clear()
        assert library() is None
        plain = attend(query, Layout([3]), [source], 0.2)[: len(compiled_)]
    assert not torch.equal(compiled_, plain)  # else both came from one kernel
    torch.testing.assert_close(compiled_, plain, atol=0.02, rtol=0.02)


@fitting
@pytest.mark.parametrize(
    ("compiler", "reason"), [("/nowhere/cc", "No such file"), ("false", "non-zero exit status"), ("git", "")]
)
def test_without_a_compiler_it_is_said(afresh: pytest.MonkeyPatch, tmp_path: Path, compiler: str, reason: str) -> None:
    afresh.setenv("CC", compiler)
    with pytest.warns(FallbackWarning, match=reason) as told:
        assert library() is None
    assert len(told) == 1 and "install gcc" in str(told[0].message)
    index = _index(tmp_path)
    assert len(index.rank(QUESTION, first_stage="all").hits) == len(index.store)


@fitting
@pytest.mark.parametrize(
    ("plan", "bound"),
    [("mode=oneway", 0.1), ("mode=frozen", 0.1), ("mode=oneway,keep.passage=6,selector=nearest", 0.2)],
)
def test_an_index_ranks_with_it(afresh: pytest.MonkeyPatch, tmp_path: Path, plan: str, bound: float) -> None:
    """As near as bfloat16 rounds: both are further from what float32 gives, and few tokens for many further still."""
    index = _index(tmp_path, plan)
    found = {hit.id: hit.score for hit in index.rank(QUESTION, first_stage="all").hits}
    assert library() is not None
    afresh.setenv("PLAIT_KERNELS", "0")
    library.cache_clear()
    plain = {hit.id: hit.score for hit in index.rank(QUESTION, first_stage="all").hits}
    assert found != plain and found == pytest.approx(plain, abs=bound)


def _index(folder: Path, plan: str = "mode=oneway") -> Index:
    """TEXTS under a model wide enough for the kernel."""
    plans = {"score": f"join=1,{plan}"}
    path = small_checkpoint(folder / "bert", plans=plans, heads=("score",), hidden_size=128)
    index = Index.create(folder / "s.plait", Plait.from_pretrained(path, dtype="bfloat16"), name="")
    index.add(Document(name, text) for name, text in TEXTS.items())
    return index


@fitting
def test_a_compiled_library_is_kept(afresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = compiled(tmp_path)
    changed = first.stat().st_mtime_ns
    assert compiled(tmp_path) == first and first.stat().st_mtime_ns == changed
    assert [path.name for path in tmp_path.iterdir() if path != tmp_path / "cache"] == [first.name]
    afresh.setenv("CC", "/nowhere/cc")  # which only the first time needs
    assert compiled(tmp_path) == first


@fitting
def test_a_compiler_may_have_arguments(afresh: pytest.MonkeyPatch) -> None:
    afresh.setenv("CC", f"{compiler()[0]} -pthread")
    assert library() is not None


@fitting
def test_a_user_without_a_home_is_told(afresh: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    afresh.delenv("XDG_CACHE_HOME")
    afresh.setattr(Path, "home", nowhere)
    with pytest.warns(FallbackWarning, match="Could not determine home directory"):
        assert library() is None


@fitting
def test_a_cache_that_cannot_be_written_is_told(afresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A compiler would not help."""
    (tmp_path / "cache").write_text("a file")
    with pytest.warns(FallbackWarning, match=f"{tmp_path}/cache.*let XDG_CACHE_HOME be a folder that can be") as told:
        assert library() is None
    assert "gcc" not in str(told[0].message)
