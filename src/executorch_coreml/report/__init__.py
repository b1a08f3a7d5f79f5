"""One page on a model: :mod:`.source` and :mod:`.artefact` make facts, :mod:`.page` shows them."""
