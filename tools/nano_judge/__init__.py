"""How the nano judge is made: pictures with known truth, questions about them, training, export."""
