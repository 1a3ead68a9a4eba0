"""The bench: plays itsm against its references and tells the ratios."""
