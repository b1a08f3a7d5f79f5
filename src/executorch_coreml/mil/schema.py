"""The protobuf messages of a Core ML model file, described by our own table of fields.

Names and field numbers are facts of the format, published as ``mlmodel/format/*.proto`` in
apple/coremltools: ``Model.proto`` (the model and its description), ``FeatureTypes.proto`` (the
types of inputs and outputs) and ``MIL.proto`` (the ML Program). The messages live in a descriptor
pool of their own, so they cannot collide with the generated classes of coremltools in the same
process.
Fields that the table leaves out are skipped on reading, as protobuf does with unknown fields.
Enumerations are read as ``int32``, which is how they travel.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# One block per message. Field: name, number, kind, then "repeated", "map" (from
# string) or "|group" for a member of that oneof.
_MESSAGES = """
Model
  specificationVersion 1 int32
  description 2 ModelDescription
  mlProgram 502 Program |Type
ModelDescription
  input 1 FeatureDescription repeated
  output 10 FeatureDescription repeated
  state 13 FeatureDescription repeated
  functions 20 FunctionDescription repeated
  defaultFunctionName 21 string
FunctionDescription
  name 1 string
  input 2 FeatureDescription repeated
  output 3 FeatureDescription repeated
  state 6 FeatureDescription repeated
FeatureDescription
  name 1 string
  shortDescription 2 string
  type 3 FeatureType

FeatureType
  int64Type 1 Opaque |Type
  doubleType 2 Opaque |Type
  stringType 3 Opaque |Type
  imageType 4 ImageFeatureType |Type
  multiArrayType 5 ArrayFeatureType |Type
  dictionaryType 6 DictionaryFeatureType |Type
  sequenceType 7 Opaque |Type
  stateType 8 StateFeatureType |Type
  isOptional 1000 bool
Opaque
SizeRange
  lowerBound 1 uint64
  upperBound 2 int64
ImageFeatureType
  width 1 int64
  height 2 int64
  colorSpace 3 int32
  enumeratedSizes 21 EnumeratedImageSizes |SizeFlexibility
  imageSizeRange 31 ImageSizeRange |SizeFlexibility
ImageSize
  width 1 uint64
  height 2 uint64
EnumeratedImageSizes
  sizes 1 ImageSize repeated
ImageSizeRange
  widthRange 1 SizeRange
  heightRange 2 SizeRange
ArrayFeatureType
  shape 1 int64 repeated
  dataType 2 int32
  enumeratedShapes 21 EnumeratedShapes |ShapeFlexibility
  shapeRange 31 ShapeRange |ShapeFlexibility
  intDefaultValue 41 int32 |defaultOptionalValue
  floatDefaultValue 51 float |defaultOptionalValue
  doubleDefaultValue 61 double |defaultOptionalValue
Shape
  shape 1 int64 repeated
EnumeratedShapes
  shapes 1 Shape repeated
ShapeRange
  sizeRanges 1 SizeRange repeated
DictionaryFeatureType
  int64KeyType 1 Opaque |KeyType
  stringKeyType 2 Opaque |KeyType
StateFeatureType
  arrayType 1 ArrayFeatureType |Type

Program
  version 1 int64
  functions 2 Function map
Function
  inputs 1 NamedValueType repeated
  opset 2 string
  block_specializations 3 Block map
Block
  inputs 1 NamedValueType repeated
  outputs 2 string repeated
  operations 3 Operation repeated
Operation
  type 1 string
  inputs 2 Argument map
  outputs 3 NamedValueType repeated
  blocks 4 Block repeated
  attributes 5 Value map
Argument
  arguments 1 Binding repeated
Binding
  name 1 string |binding
  value 2 Value |binding
NamedValueType
  name 1 string
  type 2 ValueType

ValueType
  tensorType 1 TensorType |type
  listType 2 ListType |type
  tupleType 3 TupleType |type
  dictionaryType 4 DictionaryType |type
  stateType 5 StateType |type
TensorType
  dataType 1 int32
  rank 2 int64
  dimensions 3 Dimension repeated
TupleType
  types 1 ValueType repeated
ListType
  type 1 ValueType
  length 2 Dimension
DictionaryType
  keyType 1 ValueType
  valueType 2 ValueType
StateType
  wrappedType 1 ValueType
Dimension
  constant 1 ConstantDimension |dimension
  unknown 2 UnknownDimension |dimension
ConstantDimension
  size 1 uint64
UnknownDimension
  variadic 1 bool

Value
  type 2 ValueType
  immediateValue 3 ImmediateValue |value
  blobFileValue 5 BlobFileValue |value
ImmediateValue
  tensor 1 TensorValue |value
  tuple 2 TupleValue |value
  list 3 ListValue |value
  dictionary 4 DictionaryValue |value
BlobFileValue
  fileName 1 string
  offset 2 uint64
TensorValue
  floats 1 RepeatedFloats |value
  ints 2 RepeatedInts |value
  bools 3 RepeatedBools |value
  strings 4 RepeatedStrings |value
  longInts 5 RepeatedLongInts |value
  doubles 6 RepeatedDoubles |value
  bytes 7 RepeatedBytes |value
RepeatedFloats
  values 1 float repeated
RepeatedInts
  values 1 int32 repeated
RepeatedBools
  values 1 bool repeated
RepeatedStrings
  values 1 string repeated
RepeatedLongInts
  values 1 int64 repeated
RepeatedDoubles
  values 1 double repeated
RepeatedBytes
  values 1 bytes
TupleValue
  values 1 Value repeated
ListValue
  values 1 Value repeated
DictionaryValue
  values 1 KeyValuePair repeated
KeyValuePair
  key 1 Value
  value 2 Value
"""

# The other members of Model's oneof "Type": only their names are of interest.
_OTHER_MODELS = """
pipelineClassifier 200, pipelineRegressor 201, pipeline 202, glmRegressor 300,
supportVectorRegressor 301, treeEnsembleRegressor 302, neuralNetworkRegressor 303,
bayesianProbitRegressor 304, glmClassifier 400, supportVectorClassifier 401,
treeEnsembleClassifier 402, neuralNetworkClassifier 403, kNearestNeighborsClassifier 404,
neuralNetwork 500, itemSimilarityRecommender 501, customModel 555, linkedModel 556,
classConfidenceThresholding 560, oneHotEncoder 600, imputer 601, featureVectorizer 602,
dictVectorizer 603, scaler 604, categoricalMapping 606, normalizer 607, arrayFeatureExtractor 609,
nonMaximumSuppression 610, identity 900, textClassifier 2000, wordTagger 2001,
visionFeaturePrint 2002, soundAnalysisPreprocessing 2003, gazetteer 2004, wordEmbedding 2005,
audioFeaturePrint 2006, serializedModel 3000
"""

_PACKAGE = "executorch_coreml.format"
_Field = descriptor_pb2.FieldDescriptorProto


def _add_field(message: Any, name: str, number: str, kind: str, label: str = "") -> None:
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if label == "map":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", "1", "string")
        _add_field(entry, "value", "2", kind)
        kind = f"{message.name}.{entry.name}"
    if label in ("map", "repeated"):
        field.label = _Field.LABEL_REPEATED
    elif label:
        group = label[1:]
        groups = [oneof.name for oneof in message.oneof_decl]
        if group not in groups:
            message.oneof_decl.add(name=group)
            groups.append(group)
        field.oneof_index = groups.index(group)
    if kind[0].isupper():
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = getattr(_Field, f"TYPE_{kind.upper()}")


def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="executorch_coreml/format.proto", package=_PACKAGE, syntax="proto3"
    )
    for line in _MESSAGES.splitlines():
        if line.startswith(" "):
            _add_field(file.message_type[-1], *line.split())
        elif line:
            file.message_type.add(name=line)
    for other in _OTHER_MODELS.split(","):
        name, number = other.split()
        _add_field(file.message_type[0], name, number, "Opaque", "|Type")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))


Model = _model_class()
"""The message class of a whole ``.mlmodel`` file."""
