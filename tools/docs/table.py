"""Tables in Markdown."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table with these cells."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
