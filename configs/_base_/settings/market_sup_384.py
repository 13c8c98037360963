# Source training as market_sup.py, on images of 384 x 128 pixels.
_base_ = './market_sup.py'
_sizes = dict(Resize=dict(scale=(128, 384)), PadRandomCrop=dict(size=(128, 384)))
_train, _test = (
    [dict(step, **_sizes.get(step['type'], {})) for step in pipeline]
    for pipeline in (_base_._source_train_pipeline, _base_._source_test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=_train))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=_test))
