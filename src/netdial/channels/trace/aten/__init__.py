"""Operations of exported graphs (``aten``), said as those that the rules know."""
