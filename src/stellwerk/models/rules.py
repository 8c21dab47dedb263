"""Which types a portable model may hold, by name. Reading a model's schema against this list is in `schema`.

Loader and scanner share this list, so that what is scanned as harmless is exactly what is loaded.
"""

from __future__ import annotations

_SK = "sklearn."
_HIST = "sklearn.ensemble._hist_gradient_boosting."

TRUSTED_OBJECTS: tuple[str, ...] = (
    # estimators
    _SK + "calibration.CalibratedClassifierCV",
    _SK + "compose._column_transformer.ColumnTransformer",
    _SK + "compose._target.TransformedTargetRegressor",
    _SK + "dummy.DummyClassifier",
    _SK + "dummy.DummyRegressor",
    _SK + "ensemble._forest.ExtraTreesClassifier",
    _SK + "ensemble._forest.ExtraTreesRegressor",
    _SK + "ensemble._forest.RandomForestClassifier",
    _SK + "ensemble._forest.RandomForestRegressor",
    _HIST + "gradient_boosting.HistGradientBoostingClassifier",
    _HIST + "gradient_boosting.HistGradientBoostingRegressor",
    _SK + "ensemble._stacking.StackingClassifier",
    _SK + "ensemble._stacking.StackingRegressor",
    _SK + "ensemble._voting.VotingClassifier",
    _SK + "ensemble._voting.VotingRegressor",
    _SK + "impute._base.MissingIndicator",
    _SK + "impute._base.SimpleImputer",
    _SK + "isotonic.IsotonicRegression",
    _SK + "linear_model._base.LinearRegression",
    _SK + "linear_model._bayes.BayesianRidge",
    _SK + "linear_model._coordinate_descent.ElasticNet",
    _SK + "linear_model._coordinate_descent.ElasticNetCV",
    _SK + "linear_model._coordinate_descent.Lasso",
    _SK + "linear_model._coordinate_descent.LassoCV",
    _SK + "linear_model._glm.glm.GammaRegressor",
    _SK + "linear_model._glm.glm.PoissonRegressor",
    _SK + "linear_model._glm.glm.TweedieRegressor",
    _SK + "linear_model._huber.HuberRegressor",
    _SK + "linear_model._logistic.LogisticRegression",
    _SK + "linear_model._logistic.LogisticRegressionCV",
    _SK + "linear_model._quantile.QuantileRegressor",
    _SK + "linear_model._ridge.Ridge",
    _SK + "linear_model._ridge.RidgeCV",
    _SK + "linear_model._ridge.RidgeClassifier",
    _SK + "linear_model._stochastic_gradient.SGDClassifier",
    _SK + "linear_model._stochastic_gradient.SGDRegressor",
    _SK + "naive_bayes.BernoulliNB",
    _SK + "naive_bayes.GaussianNB",
    _SK + "pipeline.FeatureUnion",
    _SK + "pipeline.Pipeline",
    _SK + "preprocessing._data.Binarizer",
    _SK + "preprocessing._data.MaxAbsScaler",
    _SK + "preprocessing._data.MinMaxScaler",
    _SK + "preprocessing._data.Normalizer",
    _SK + "preprocessing._data.PowerTransformer",
    _SK + "preprocessing._data.QuantileTransformer",
    _SK + "preprocessing._data.RobustScaler",
    _SK + "preprocessing._data.StandardScaler",
    _SK + "preprocessing._discretization.KBinsDiscretizer",
    _SK + "preprocessing._encoders.OneHotEncoder",
    _SK + "preprocessing._encoders.OrdinalEncoder",
    _SK + "preprocessing._function_transformer.FunctionTransformer",
    _SK + "preprocessing._label.LabelBinarizer",
    _SK + "preprocessing._label.LabelEncoder",
    _SK + "preprocessing._polynomial.PolynomialFeatures",
    _SK + "preprocessing._target_encoder.TargetEncoder",
    _SK + "tree._classes.DecisionTreeClassifier",
    _SK + "tree._classes.DecisionTreeRegressor",
    _SK + "tree._classes.ExtraTreeClassifier",
    _SK + "tree._classes.ExtraTreeRegressor",
    # private parts that the estimators above keep after fitting
    _SK + "calibration._CalibratedClassifier",
    _SK + "calibration._SigmoidCalibration",
    _HIST + "binning._BinMapper",
    _HIST + "predictor.TreePredictor",
    _SK + "_loss.link.HalfLogitLink",
    _SK + "_loss.link.IdentityLink",
    _SK + "_loss.link.Interval",
    _SK + "_loss.link.LogLink",
    _SK + "_loss.link.LogitLink",
    _SK + "_loss.link.MultinomialLogit",
    _SK + "_loss.loss.AbsoluteError",
    _SK + "_loss.loss.HalfBinomialLoss",
    _SK + "_loss.loss.HalfGammaLoss",
    _SK + "_loss.loss.HalfMultinomialLoss",
    _SK + "_loss.loss.HalfPoissonLoss",
    _SK + "_loss.loss.HalfSquaredError",
    _SK + "_loss.loss.HalfTweedieLoss",
    _SK + "_loss.loss.HalfTweedieLossIdentity",
    _SK + "_loss.loss.PinballLoss",
)
TRUSTED_LOSSES: tuple[str, ...] = (
    _SK + "_loss._loss.CyAbsoluteError",
    _SK + "_loss._loss.CyHalfBinomialLoss",
    _SK + "_loss._loss.CyHalfGammaLoss",
    _SK + "_loss._loss.CyHalfMultinomialLoss",
    _SK + "_loss._loss.CyHalfPoissonLoss",
    _SK + "_loss._loss.CyHalfSquaredError",
    _SK + "_loss._loss.CyHalfTweedieLoss",
    _SK + "_loss._loss.CyHalfTweedieLossIdentity",
    _SK + "_loss._loss.CyPinballLoss",
    _SK + "linear_model._sgd_fast.EpsilonInsensitive",
    _SK + "linear_model._sgd_fast.Hinge",
    _SK + "linear_model._sgd_fast.ModifiedHuber",
    _SK + "linear_model._sgd_fast.SquaredEpsilonInsensitive",
    _SK + "linear_model._sgd_fast.SquaredHinge",
)
TRUSTED_FUNCTIONS: tuple[str, ...] = (
    "numpy.exp",
    "numpy.expm1",
    "numpy.log",
    "numpy.log1p",
    "numpy.sqrt",
    "numpy.square",
    _SK + "utils.validation.check_array",
)
TRUSTED_TYPES: tuple[str, ...] = (
    "builtins.bool",
    "builtins.float",
    "builtins.int",
    "builtins.str",
    "numpy.bool",
    "numpy.float32",
    "numpy.float64",
    "numpy.int32",
    "numpy.int64",
    "numpy.str_",
)
TRUSTED_ARRAYS: tuple[str, ...] = (
    "numpy.bool",
    "numpy.float32",
    "numpy.float64",
    "numpy.int32",
    "numpy.int64",
    "numpy.ndarray",
    "numpy.str_",
    "numpy.uint32",
    "numpy.uint64",
    "numpy.uint8",
)
TREE = _SK + "tree._tree.Tree"

_TRUSTED_BY_LOADER: dict[str, frozenset[str]] = {
    "DictNode": frozenset({"builtins.dict", "collections.OrderedDict", _SK + "utils._bunch.Bunch"}),
    "ListNode": frozenset({"builtins.list"}),
    "SetNode": frozenset({"builtins.set"}),
    "TupleNode": frozenset({"builtins.tuple"}),
    "SliceNode": frozenset({"builtins.slice"}),
    "JsonNode": frozenset({"builtins.str"}),
    "TypeNode": frozenset(TRUSTED_TYPES),
    "FunctionNode": frozenset(TRUSTED_FUNCTIONS),
    "PartialNode": frozenset({"functools.partial"}),
    "ObjectNode": frozenset(TRUSTED_OBJECTS),
    "LossNode": frozenset(TRUSTED_LOSSES),
    "TreeNode": frozenset({TREE}),
    "NdArrayNode": frozenset(TRUSTED_ARRAYS),
    "DTypeNode": frozenset({"numpy.dtype"}),
    "RandomGeneratorNode": frozenset({"numpy.random._generator.Generator"}),
}
TRUSTED: tuple[str, ...] = tuple(sorted(frozenset().union(*_TRUSTED_BY_LOADER.values())))
"""Every type a portable model may hold, whatever skops itself would trust."""


def is_trusted(loader: str, type_name: str) -> bool:
    """Whether a skops node of this loader may produce this type."""
    return type_name in _TRUSTED_BY_LOADER.get(loader, ())
