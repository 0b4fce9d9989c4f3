// Lists a tar archive as Go's archive/tar reads it, which is what containerd, crane and docker read layers with:
// one JSON document per entry. The archive is a file, so payloads are skipped by seeking.
package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

type entry struct {
	Name   string `json:"name"`
	Mode   string `json:"mode"`
	Uid    int    `json:"uid"`
	Gid    int    `json:"gid"`
	Size   int64  `json:"size"`
	Mtime  int64  `json:"mtime"`
	Format string `json:"format"`
}

func main() {
	if err := list(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func list() error {
	file, err := os.Open(os.Args[1])
	if err != nil {
		return err
	}
	defer file.Close()
	out := json.NewEncoder(os.Stdout)
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = out.Encode(entry{
			Name:   header.Name,
			Mode:   header.FileInfo().Mode().String(),
			Uid:    header.Uid,
			Gid:    header.Gid,
			Size:   header.Size,
			Mtime:  header.ModTime.Unix(),
			Format: header.Format.String(),
		})
		if err != nil {
			return err
		}
	}
}
