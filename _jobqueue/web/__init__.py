"""What only HTTP needs: the pages, and how they are served."""
