"""A second solver, of another design than the library's: Knuth's algorithm X, with sets in dictionaries."""


def count_solutions(clues, box, most):
    """How many ways there are to complete a grid, counted up to ``most``.

    Every cell, and every digit of every row, column and box, is to be covered exactly once by the choices
    (row, column, digit); a choice is tried in whatever has the fewest left.
    """
    high, wide = box
    size = high * wide

    def covered(row, column, digit):
        inside = (row // high, column // wide)
        return [("cell", row, column), ("row", row, digit), ("column", column, digit), ("box", inside, digit)]

    choices = {}
    for row in range(size):
        for column in range(size):
            clue = clues[row * size + column]
            for digit in range(size) if clue == size else [clue]:
                choices[row, column, digit] = covered(row, column, digit)
    needs = {}
    for choice, parts in choices.items():
        for part in parts:
            needs.setdefault(part, set()).add(choice)
    if len(needs) < 4 * size**2:
        return 0

    def search():
        if not needs:
            return 1
        found = 0
        part = min(needs, key=lambda each: len(needs[each]))
        for choice in list(needs[part]):
            removed = take(choice)
            found += search()
            give_back(choice, removed)
            if found >= most:
                return most
        return found

    def take(choice):
        removed = []
        for part in choices[choice]:
            for other in needs[part]:
                for another in choices[other]:
                    if another != part:
                        needs[another].discard(other)
            removed.append(needs.pop(part))
        return removed

    def give_back(choice, removed):
        for part in reversed(choices[choice]):
            needs[part] = removed.pop()
            for other in needs[part]:
                for another in choices[other]:
                    if another != part:
                        needs[another].add(other)

    return search()
