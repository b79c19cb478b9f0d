"""Rows and groups: from a source to prepared, split, fingerprinted rows that every trial of a sweep shares.

`prepare.prepare_data` runs the line once a sweep: source -> rows and groups -> clean -> split -> limit -> folder. A worker
only opens that folder (`prepared.open_data`), cuts its minority (`downsample.downsample`) and maps its tokens
(`text.encode_rows`). The test rows are decided here, by content and `split_seed` alone.
"""
