package elfsynth

// abbreviation numbers the shapes that entries of .debug_info have (DWARF 4, section 7.5.3).
type abbreviation byte

const (
	abbrevEnd abbreviation = iota
	abbrevUnit
	abbrevUnitCode
	abbrevBase
	abbrevUnknown
	abbrevPtr
	abbrevVoidPtr
	abbrevArray
	abbrevCount
	abbrevNoCount
	abbrevStruct
	abbrevUnion
	abbrevAnonStruct
	abbrevAnonUnion
	abbrevStructDecl
	abbrevUnionDecl
	abbrevMember
	abbrevAnonMember
	abbrevBitField
	abbrevAnonBitField
	abbrevEnum
	abbrevAnonEnum
	abbrevSigned
	abbrevUnsigned
	abbrevTypedef
	abbrevVoidTypedef
	abbrevConst
	abbrevVoidConst
	abbrevVolatile
	abbrevVoidVolatile
	abbrevRestrict
	abbrevVoidRestrict
	abbrevProto
	abbrevVoidProto
	abbrevParam
	abbrevNamedParam
	abbrevMoreParams
	abbrevFunc
	abbrevVoidFunc
	abbrevVar
	abbreviations
)

// Tags, attributes, forms and codes of DWARF 4, sections 7.5.3 to 7.5.5, 7.8, 7.12.
const (
	tagArray, tagEnum, tagParam, tagMember, tagPtr              = 0x01, 0x04, 0x05, 0x0d, 0x0f
	tagUnit, tagStruct, tagProto, tagTypedef, tagUnion          = 0x11, 0x13, 0x15, 0x16, 0x17
	tagMoreParams, tagSubrange, tagBase, tagConst, tagEnumConst = 0x18, 0x21, 0x24, 0x26, 0x28
	tagFunc, tagVar, tagVolatile, tagRestrict, tagUnspecified   = 0x2e, 0x34, 0x35, 0x37, 0x3b

	attrLocation, attrName, attrByteSize, attrBitSize, attrLowPC = 0x02, 0x03, 0x0b, 0x0d, 0x11
	attrHighPC, attrLanguage, attrConstValue, attrProducer       = 0x12, 0x13, 0x1c, 0x25
	attrPrototyped, attrCount, attrMemberLocation, attrDeclared  = 0x27, 0x37, 0x38, 0x3c
	attrEncoding, attrExternal, attrType, attrDataBitOffset      = 0x3e, 0x3f, 0x49, 0x6b

	formAddr, formData8, formData1, formFlag, formSdata = 0x01, 0x07, 0x0b, 0x0c, 0x0d
	formStrp, formUdata, formRefAddr, formRef4          = 0x0e, 0x0f, 0x10, 0x13
	formExpr, formYes                                   = 0x18, 0x19

	encodingBool, encodingFloat, encodingSigned, encodingSignedChar = 0x02, 0x04, 0x05, 0x06
	encodingUnsigned, encodingUnsignedChar                          = 0x07, 0x08

	languageC99 = 0x0c
)

// shape is a tag, whether children follow, and attributes with their forms.
type shape struct {
	tag      byte
	children bool
	attrs    []byte
}

var shapes = [abbreviations]shape{
	abbrevUnit: {tagUnit, true, []byte{attrProducer, formStrp, attrLanguage, formData1, attrName, formStrp}},
	abbrevUnitCode: {tagUnit, true, []byte{attrProducer, formStrp, attrLanguage, formData1, attrName, formStrp,
		attrLowPC, formAddr, attrHighPC, formData8}},
	abbrevBase:       {tagBase, false, []byte{attrName, formStrp, attrEncoding, formData1, attrByteSize, formData1}},
	abbrevUnknown:    {tagUnspecified, false, []byte{attrName, formStrp}},
	abbrevPtr:        {tagPtr, false, []byte{attrByteSize, formData1, attrType, formRef4}},
	abbrevVoidPtr:    {tagPtr, false, []byte{attrByteSize, formData1}},
	abbrevArray:      {tagArray, true, []byte{attrType, formRef4}},
	abbrevCount:      {tagSubrange, false, []byte{attrCount, formUdata}},
	abbrevNoCount:    {tagSubrange, false, nil},
	abbrevStruct:     {tagStruct, true, []byte{attrName, formStrp, attrByteSize, formUdata}},
	abbrevUnion:      {tagUnion, true, []byte{attrName, formStrp, attrByteSize, formUdata}},
	abbrevAnonStruct: {tagStruct, true, []byte{attrByteSize, formUdata}},
	abbrevAnonUnion:  {tagUnion, true, []byte{attrByteSize, formUdata}},
	abbrevStructDecl: {tagStruct, false, []byte{attrName, formStrp, attrDeclared, formYes}},
	abbrevUnionDecl:  {tagUnion, false, []byte{attrName, formStrp, attrDeclared, formYes}},
	abbrevMember:     {tagMember, false, []byte{attrName, formStrp, attrType, formRef4, attrMemberLocation, formUdata}},
	abbrevAnonMember: {tagMember, false, []byte{attrType, formRef4, attrMemberLocation, formUdata}},
	abbrevBitField: {tagMember, false, []byte{attrName, formStrp, attrType, formRef4,
		attrDataBitOffset, formUdata, attrBitSize, formUdata}},
	abbrevAnonBitField: {tagMember, false, []byte{attrType, formRef4, attrDataBitOffset, formUdata, attrBitSize, formUdata}},
	abbrevEnum:         {tagEnum, true, []byte{attrName, formStrp, attrByteSize, formData1}},
	abbrevAnonEnum:     {tagEnum, true, []byte{attrByteSize, formData1}},
	abbrevSigned:       {tagEnumConst, false, []byte{attrName, formStrp, attrConstValue, formSdata}},
	abbrevUnsigned:     {tagEnumConst, false, []byte{attrName, formStrp, attrConstValue, formUdata}},
	abbrevTypedef:      {tagTypedef, false, []byte{attrName, formStrp, attrType, formRef4}},
	abbrevVoidTypedef:  {tagTypedef, false, []byte{attrName, formStrp}},
	abbrevConst:        {tagConst, false, []byte{attrType, formRef4}},
	abbrevVoidConst:    {tagConst, false, nil},
	abbrevVolatile:     {tagVolatile, false, []byte{attrType, formRef4}},
	abbrevVoidVolatile: {tagVolatile, false, nil},
	abbrevRestrict:     {tagRestrict, false, []byte{attrType, formRef4}},
	abbrevVoidRestrict: {tagRestrict, false, nil},
	abbrevProto:        {tagProto, true, []byte{attrPrototyped, formYes, attrType, formRef4}},
	abbrevVoidProto:    {tagProto, true, []byte{attrPrototyped, formYes}},
	abbrevParam:        {tagParam, false, []byte{attrType, formRef4}},
	abbrevNamedParam:   {tagParam, false, []byte{attrName, formStrp, attrType, formRef4}},
	abbrevMoreParams:   {tagMoreParams, false, nil},
	abbrevFunc: {tagFunc, true, []byte{attrName, formStrp, attrExternal, formFlag, attrPrototyped, formYes,
		attrLowPC, formAddr, attrHighPC, formData8, attrType, formRef4}},
	abbrevVoidFunc: {tagFunc, true, []byte{attrName, formStrp, attrExternal, formFlag, attrPrototyped, formYes,
		attrLowPC, formAddr, attrHighPC, formData8}},
	abbrevVar: {tagVar, false, []byte{attrName, formStrp, attrExternal, formFlag, attrType, formRefAddr,
		attrLocation, formExpr}},
}

// leaf is an entry of a shape that has children, without any.
func (a abbreviation) leaf() abbreviation { return a + abbreviations }

// abbrevTable encodes the shapes as .debug_abbrev. All numbers are below 128, where LEB128 is one
// byte.
func abbrevTable() []byte {
	var b []byte
	for code := abbrevUnit; code < abbreviations; code++ {
		s := shapes[code]
		if s.children {
			b = appendShape(b, code, s, 1)
			b = appendShape(b, code.leaf(), s, 0)
		} else {
			b = appendShape(b, code, s, 0)
		}
	}
	return append(b, 0)
}

func appendShape(b []byte, code abbreviation, s shape, children byte) []byte {
	b = append(b, byte(code), s.tag, children)
	b = append(b, s.attrs...)
	return append(b, 0, 0)
}
