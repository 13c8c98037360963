"""A second device without hardware: tensors that compute like the CPU's but that NumPy and CPU tensors cannot touch."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

FOREIGN = torch.device('lazy')


class ForeignTensor(torch.Tensor):
    """A tensor that says it is on ``FOREIGN`` and keeps its values in ``inner``."""

    @staticmethod
    def __new__(cls, inner):
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=FOREIGN
        )
        tensor.inner = inner
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f'{func} outside of ForeignDevice')

    def tolist(self):
        return self.inner.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl


class ForeignDevice(TorchDispatchMode):
    """Within it ``FOREIGN`` works like a GPU: ``x.to(FOREIGN)``, ``torch.zeros(3, device=FOREIGN)``, ``x.cpu()``.

    An operation on tensors of both devices is an error, except where CUDA allows it: copies, numbers, and indices.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
        wrapped = {id(leaf.inner): leaf for leaf in tensors if isinstance(leaf, ForeignTensor)}
        device = kwargs.get('device')
        to_foreign = bool(wrapped) if device is None else device.type == FOREIGN.type
        if to_foreign and device is not None:
            kwargs['device'] = torch.device('cpu')
        if len({isinstance(leaf, ForeignTensor) for leaf in _bound(func, tensors) if leaf.ndim}) == 2:
            raise RuntimeError(f'{func}: tensors on {FOREIGN} and on the CPU')
        args, kwargs = tree_map_only(ForeignTensor, lambda tensor: tensor.inner, (args, kwargs))
        result = func(*args, **kwargs)
        into_cpu = func._schema.is_mutable and not isinstance(tensors[0], ForeignTensor)
        if not to_foreign or into_cpu:
            return result
        return tree_map_only(torch.Tensor, lambda inner: _wrapped(inner, wrapped), result)


def _bound(func, tensors):
    """The tensors that must be on one device: CUDA takes indices from the CPU too, but none of its own for the CPU."""
    name = func._schema.name
    if name in ('aten::_to_copy', 'aten::copy_'):
        return []
    if name.startswith('aten::index_put') and isinstance(tensors[0], ForeignTensor):
        return [tensors[0], tensors[-1]]
    return tensors[:1] if name == 'aten::index' and isinstance(tensors[0], ForeignTensor) else tensors


def _wrapped(inner, known):
    return known[id(inner)] if id(inner) in known else ForeignTensor(inner)
