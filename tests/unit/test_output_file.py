"""The bounded output of one run, as bytes of a file: what is kept, and how what is not is marked."""

from __future__ import annotations

from pathlib import Path

from server.agent.output_file import OutputFile


def test_head_and_tail_are_kept_whatever_the_pieces(tmp_path: Path) -> None:
    """The bound holds for any cut of the same bytes, and what is within it is whole."""
    whole = bytes(range(256)) * 40
    for bound in (64, 1000, len(whole) - 1, len(whole), len(whole) + 1):
        for piece in (1, 7, 4096, len(whole)):
            directory = tmp_path / f"{bound}-{piece}"
            directory.mkdir()
            output = OutputFile(directory, bound)
            for at in range(0, len(whole), piece):
                output.write(whole[at : at + piece])
            size, cut = output.finish()
            kept = (directory / "output").read_bytes()
            assert len(kept) == size
            assert cut == (len(whole) > bound)
            if cut:
                dropped = len(whole) - bound
                mark = f"\n[{dropped} bytes were cut here]\n".encode()
                assert kept == whole[: bound // 2] + mark + whole[-(bound - bound // 2) :]
            else:
                assert kept == whole
            assert not list(directory.glob("tail.*"))


def test_what_a_full_disk_drops_is_one_place_and_marked(tmp_path: Path) -> None:
    """No room in the head, or in the tail: head and tail are each without a hole, and the mark counts what is gone."""
    for full_at in (10, 45, 150):  # of a bound of 100: in the head, at its end, in the tail
        directory = tmp_path / str(full_at)
        directory.mkdir()
        room = [True]
        output = OutputFile(directory, 100, lambda room=room: room[0])
        whole = bytes(range(256))
        output.write(whole[:full_at])
        room[0] = False
        output.write(whole[full_at : full_at + 20])
        room[0] = True
        output.write(whole[full_at + 20 :])
        size, cut = output.finish()
        kept = (directory / "output").read_bytes()
        head, mark, tail = kept[: min(full_at, 50)], b"\n[%d bytes were cut here]\n", whole[full_at + 20 :][-50:]
        assert (size, cut) == (len(kept), True)
        assert kept == whole[: len(head)] + mark % (256 - len(head) - len(tail)) + tail
