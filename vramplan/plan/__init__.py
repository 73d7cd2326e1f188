"""From figures to decisions: what a card holds (`fit`), grids of recipes (`sweep`), what to rent (`search`)."""
