# UDA MSMT17 -> Market-1501 for two CPU cores, with the consensus of four fixed scales: the leaf of earlier releases.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/settings/msmt2market_uda_cpu.py',
    '../_base_/labelers/consensus_glc.py',
]
model = _base_._cnn
