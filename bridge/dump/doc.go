// Package dump reads files that hold the physical memory of a machine: raw images, in one file or
// several, with the parts of RAM at any offset. Files of other formats are recognised and refused
// with advice on how to convert them.
package dump
