// A fixed answer and files, by net/http.
//
// usage: go_http PORT WORKERS FOLDER
package main

import (
	"net/http"
	"os"
	"runtime"
	"strconv"
)

func main() {
	workers, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	runtime.GOMAXPROCS(workers)
	body := []byte("Hello, world!")
	http.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Write(body)
	})
	files := http.FileServer(http.Dir(os.Args[3]))
	http.Handle("/files/", http.StripPrefix("/files/", files))
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
