package wire

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

var levelTable = map[sdk.Level]pb.Level{
	sdk.LevelDebug: pb.Level_LEVEL_DEBUG,
	sdk.LevelInfo:  pb.Level_LEVEL_INFO,
	sdk.LevelWarn:  pb.Level_LEVEL_WARN,
	sdk.LevelError: pb.Level_LEVEL_ERROR,
}

func encodeLine(line sdk.LogLine) *pb.LogLine {
	return &pb.LogLine{Level: levelTable[line.Level], Text: clean(line.Text, MaxMessage/2)}
}

func decodeLine(line *pb.LogLine) sdk.LogLine {
	decoded := sdk.LogLine{Level: sdk.LevelInfo, Text: line.GetText()}
	for level, wire := range levelTable {
		if wire == line.GetLevel() {
			decoded.Level = level
		}
	}
	return decoded
}
