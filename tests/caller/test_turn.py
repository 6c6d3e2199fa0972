"""Pieces of a read that are worked on in one turn of the event loop, by a budget of time."""

from caller.custom_llm.body.turn import LEAST, MOST, TurnBudget


def test_a_chunk_is_cut_into_pieces_of_the_budget() -> None:
    """Nothing is lost, and what was learned meanwhile counts at once."""
    turn = TurnBudget()
    chunk = bytes(range(256)) * 1024
    found = []
    for piece in turn.pieces(chunk):
        assert len(piece) <= turn.size
        turn.given = len(piece)
        turn.worked(0.0001)
        found.append(piece)
        assert turn.left == len(chunk) - sum(map(len, found))
        assert turn.quick

    assert b"".join(found) == chunk
    assert len(found[-1]) <= MOST
    assert turn.size == MOST


def test_dear_bytes_make_small_pieces() -> None:
    """A piece that took twice too long is followed by one of half its size, within bounds; cheap ones grow again."""
    turn = TurnBudget()
    turn.given = begun = turn.size
    turn.worked(0.008)
    assert not turn.quick
    assert turn.size == begun // 2
    turn.given = turn.size
    turn.worked(10)
    assert turn.size == LEAST
    for _ in range(20):
        turn.given = turn.size
        turn.worked(0)
    assert turn.size == MOST
