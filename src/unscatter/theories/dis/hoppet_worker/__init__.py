"""The process in which hoppet runs, ``python -m unscatter.theories.dis.hoppet_worker``: the only module that imports hoppet."""
