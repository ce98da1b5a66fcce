"""Recordings of other people turned into tapes: one file per source format; the only room that may use pyarrow."""
