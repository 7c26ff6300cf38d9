"""Checkpoints: bit for bit, checked, and never lost."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unscatter.errors import CheckpointError
from unscatter.runs import RunDirectory, checkpoints
from unscatter.runs.checkpoints import read_checkpoint, write_checkpoint

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool,
]  # fmt: skip


def _bits(tensor: Tensor) -> list[int]:
    return torch.view_as_real(tensor).contiguous().view(-1).view(torch.uint8).tolist() if tensor.is_complex() else (
        tensor.contiguous().view(-1).view(torch.uint8).tolist()
    )  # fmt: skip


def _random_bits(dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Every pattern of bits, NaN with a payload and negative zero included."""
    if dtype is torch.bool:
        return torch.rand(shape) < 0.5
    num_bytes = math.prod(shape) * dtype.itemsize
    return torch.randint(0, 256, (num_bytes,), dtype=torch.uint8).view(dtype).reshape(shape)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "fit")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3, 4)])
def test_tensors_are_read_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = _random_bits(dtype, shape)
    write_checkpoint(tmp_path / "c", 3, {"t": tensor}, {})
    back = read_checkpoint(tmp_path / "c").tensors["t"]
    assert (back.dtype, back.shape) == (dtype, tensor.shape)
    assert _bits(back) == _bits(tensor)


def test_views_of_one_memory_and_gradients_do_not_matter(run: RunDirectory) -> None:
    base = torch.randn(4, 6, requires_grad=True)
    z = torch.randn(3, dtype=torch.complex64)
    tensors = {"base": base, "transposed": base.T, "part": base[1:3, ::2], "same": base, "conjugate": z.conj(), "imaginary": z.conj().imag}
    run.save_checkpoint(1, tensors, {})
    back = run.load_checkpoint().tensors
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    back["base"].zero_()
    assert torch.equal(run.load_checkpoint().tensors["base"], base)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), plain, max_size=4))
def test_plain_values_are_read_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, scalars: dict[str, object]) -> None:
    path = tmp_path_factory.mktemp("c") / "checkpoint"
    write_checkpoint(path, 12, {}, scalars)
    back = read_checkpoint(path)
    assert (back.step, back.scalars, back.tensors) == (12, scalars, {})
    assert repr(back.scalars) == repr(scalars)


def test_values_that_are_not_plain_are_refused_before_anything_is_written(run: RunDirectory) -> None:
    with pytest.raises(TypeError):
        run.save_checkpoint(1, {}, {"object": object()})
    assert list(run.checkpoints.iterdir()) == []


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "c"
    write_checkpoint(path, 3, {"a": torch.randn(3), "n": torch.tensor(7)}, {"lr": 0.1})
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"checkpoint '.*c'|'.*c' is not a checkpoint"):
            read_checkpoint(path)


@pytest.mark.parametrize("length", [0, 1, 8, 100, -60, -1])
def test_checkpoint_that_is_cut_short_is_named(tmp_path: Path, length: int) -> None:
    path = tmp_path / "c"
    write_checkpoint(path, 3, {"a": torch.randn(30)}, {})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"the checkpoint '.*c' is damaged or cut short \(\d+ bytes\)"):
        read_checkpoint(path)


def test_checkpoint_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 99)
    write_checkpoint(tmp_path / "c", 3, {}, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format version 99, but this unscatter reads version 1"):
        read_checkpoint(tmp_path / "c")


def test_file_of_tensors_from_elsewhere_is_not_a_checkpoint(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "c")
    with pytest.raises(CheckpointError, match="not a checkpoint of unscatter"):
        read_checkpoint(tmp_path / "c")


def test_newest_checkpoint_is_loaded_and_the_last_two_are_kept(run: RunDirectory) -> None:
    for step in (900, 1000, 9_000_000_000, 10_000_000_000):
        run.save_checkpoint(step, {"s": torch.tensor(step)}, {})
    assert [file.name for file in run.checkpoint_files()] == ["step-9000000000.safetensors", "step-10000000000.safetensors"]
    assert run.load_checkpoint().step == 10_000_000_000
    assert run.load_checkpoint("step-9000000000.safetensors").tensors["s"] == 9_000_000_000
    assert run.load_checkpoint(run.checkpoint_files()[0]).step == 9_000_000_000


def test_checkpoints_of_a_course_that_was_given_up_are_removed(run: RunDirectory) -> None:
    run.save_checkpoint(100, {}, {})
    run.save_checkpoint(200, {}, {})
    run.save_checkpoint(150, {}, {})
    assert [file.name for file in run.checkpoint_files()] == ["step-000000100.safetensors", "step-000000150.safetensors"]


def test_damaged_checkpoint_names_the_good_one_before_it_and_the_command(run: RunDirectory) -> None:
    run.save_checkpoint(100, {"a": torch.ones(3)}, {})
    newest = run.save_checkpoint(200, {"a": torch.ones(3)}, {})
    newest.write_bytes(newest.read_bytes()[:-5])
    command = f"unscatter resume {run.path} --checkpoint step-000000100.safetensors"
    with pytest.raises(
        CheckpointError, match=r"(?s)step-000000200.*cut short.*The checkpoint of step 100 is good. Go on from it: "
    ) as caught:
        run.load_checkpoint()
    assert str(caught.value).endswith(command)
    run.checkpoint_files()[0].write_bytes(b"")
    with pytest.raises(CheckpointError, match="No other checkpoint of this run is good"):
        run.load_checkpoint()


def test_tensors_outlive_the_file_they_came_from(run: RunDirectory) -> None:
    path = run.save_checkpoint(1, {"a": torch.ones(1000)}, {})
    tensors = run.load_checkpoint().tensors
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(tensors["a"], torch.ones(1000))


def test_run_without_checkpoint_and_missing_file_are_errors(run: RunDirectory) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        run.load_checkpoint()
    with pytest.raises(CheckpointError, match=r"there is no checkpoint '.*step-5"):
        run.load_checkpoint("step-5.safetensors")
