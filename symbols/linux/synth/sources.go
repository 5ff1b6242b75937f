package synth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"physgdb/symbols"
	"physgdb/symbols/linux"
)

// Sources are the parts of a kernel's memory that its own tables were read from, with a digest of
// their content. A file that was made of these tables is right for another machine only if the same
// parts of its memory have the same content.
type Sources struct {
	// Notes are the kernel's ELF notes, which differ between kernels and are compared before the
	// rest is read.
	Notes linux.Notes `json:"notes"`
	// Parts are all that was read, the notes included.
	Parts []SourcePart `json:"parts"`
	// BaseAt is the link address of the word that KASLR changes (kallsyms_relative_base), 8 bytes;
	// 0 if there is none. The slide is taken off it.
	BaseAt uint64 `json:"base_at,omitempty"`
	// FramePointers is whether the kernel's functions keep frame pointers, by what their code looks
	// like.
	FramePointers bool `json:"frame_pointers,omitempty"`
	// Digest is the SHA-256 of the parts, each with its place.
	Digest []byte `json:"sha256"`
}

// SourcePart is a stretch of a kernel's image.
type SourcePart struct {
	Addr uint64 `json:"addr"` // link address
	Size uint64 `json:"size"` // bytes
}

// digester computes the digest of sources.
type digester struct {
	sources Sources
	slide   uint64
	sum     hash.Hash
}

// newDigester returns a digester of a kernel that was moved by slide. baseAt is as in [Sources].
func newDigester(slide, baseAt uint64) *digester {
	return &digester{sources: Sources{BaseAt: baseAt}, slide: slide, sum: sha256.New()}
}

// add adds parts of the kernel's memory. The addresses are link addresses. A nil digester does
// nothing.
func (d *digester) add(parts ...symbols.Blob) {
	if d == nil {
		return
	}
	for _, b := range parts {
		if len(b.Data) == 0 {
			continue
		}
		size := uint64(len(b.Data))
		d.sources.Parts = append(d.sources.Parts, SourcePart{b.Addr, size})
		var place [16]byte
		binary.LittleEndian.PutUint64(place[:], b.Addr)
		binary.LittleEndian.PutUint64(place[8:], size)
		d.sum.Write(place[:])
		at := d.sources.BaseAt - b.Addr
		if d.sources.BaseAt < b.Addr || at+8 > size {
			d.sum.Write(b.Data)
			continue
		}
		var base [8]byte
		binary.LittleEndian.PutUint64(base[:], binary.LittleEndian.Uint64(b.Data[at:])-d.slide)
		d.sum.Write(b.Data[:at])
		d.sum.Write(base[:])
		d.sum.Write(b.Data[at+8:])
	}
}

func (d *digester) finish() *Sources {
	d.sources.Digest = d.sum.Sum(nil)
	return &d.sources
}

// Hold reports whether a kernel's memory holds the sources. names are those of the file that was
// made of them. What cannot be read is not the same. The error is ctx's. progress, if not nil, is
// called with the bytes read so far and in total.
func (s *Sources) Hold(
	ctx context.Context, k *linux.Kernel, names *symbols.Table, progress func(done, total uint64),
) (bool, error) {
	const pieceSize = 1 << 20 // bytes between two calls of progress
	var total, done uint64
	for _, p := range s.Parts {
		if p.Size == 0 || p.Size > maxSources || p.Addr < linux.ImageBase || p.Addr > -p.Size {
			return false, nil
		}
		total += p.Size
	}
	if total > maxSources {
		return false, nil
	}
	d := newDigester(k.Slide, s.BaseAt)
	for _, p := range s.Parts {
		data := make([]byte, p.Size)
		for at := 0; at < len(data); at += pieceSize {
			piece := data[at:min(at+pieceSize, len(data))]
			if _, err := k.Space.ReadMemory(ctx, p.Addr+k.Slide+uint64(at), piece); err != nil {
				return false, ctx.Err()
			}
			if done += uint64(len(piece)); progress != nil {
				progress(done, total)
			}
		}
		d.add(symbols.Blob{Addr: p.Addr, Data: data})
	}
	if !bytes.Equal(d.finish().Digest, s.Digest) {
		return false, nil
	}
	known, err := k.With(ctx, names, nil)
	if err != nil {
		return false, ctx.Err()
	}
	framePointers, err := known.FramePointers(ctx)
	return err == nil && framePointers == s.FramePointers, ctx.Err()
}

// maxSources bounds the sources of a file, in bytes; those of kernels have some 12 MB.
const maxSources = 256 << 20
