"""What was asked: the sweep file, read strictly, before anything heavy is imported."""
