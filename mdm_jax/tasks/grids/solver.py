"""All solutions of a puzzle, up to a number of them: a search in the cell with the fewest digits left.

A set of digits is the bits of one whole number, so that the digits left in a cell are three operations away.
"""

from collections.abc import Sequence

from mdm_jax.tasks.grids.units import Box, size_of, unit_of


def solve(
    clues: Sequence[int],
    box: Box,
    most: int,
    barred: tuple[int, int] | None = None,
    order: Sequence[Sequence[int]] | None = None,
) -> list[list[int]]:
    """The solutions of a puzzle, at most ``most`` of them.

    Args:
        clues: one token for each cell in raster order; the number of digits (the mask) where there is none.
        box: rows and columns of one box.
        most: stop after so many, 1 or more.
        barred: a cell and a token that must not stand there.
        order: of each cell, the tokens in the order to try them; ascending if left out.
    """
    size = size_of(box)
    rows, columns, boxes = unit_of(box)
    used, grid = [0] * (3 * size), list(clues)
    left = [2**size - 1] * size**2
    if barred is not None:
        left[barred[0]] &= ~(1 << barred[1])
    for cell, token in enumerate(grid):
        if token == size:
            continue
        bit = 1 << token
        if (used[rows[cell]] | used[columns[cell]] | used[boxes[cell]]) & bit or not left[cell] & bit:
            return []
        for unit in (rows[cell], columns[cell], boxes[cell]):
            used[unit] |= bit
    empty = [cell for cell, token in enumerate(grid) if token == size]
    found: list[list[int]] = []

    def search() -> bool:
        """Try every digit of the cell with the fewest left; whether enough were found."""
        if not empty:
            found.append(grid.copy())
            return len(found) == most
        fewest, place, tokens = size + 1, 0, 0
        for at, cell in enumerate(empty):
            free = left[cell] & ~(used[rows[cell]] | used[columns[cell]] | used[boxes[cell]])
            count = free.bit_count()
            if count < fewest:
                fewest, place, tokens = count, at, free
                if count < 2:
                    break
        if not tokens:
            return False
        # The last empty cell takes the place of the one that is filled, and gives it back: no list is copied.
        cell, last = empty[place], empty.pop()
        if place < len(empty):
            empty[place] = last
        row, column, inside = rows[cell], columns[cell], boxes[cell]
        for token in range(size) if order is None else order[cell]:
            bit = 1 << token
            if not tokens & bit:
                continue
            used[row] |= bit
            used[column] |= bit
            used[inside] |= bit
            grid[cell] = token
            if search():
                return True
            used[row] ^= bit
            used[column] ^= bit
            used[inside] ^= bit
        if place < len(empty):
            empty[place] = cell
        empty.append(last)
        return False

    search()
    return found
