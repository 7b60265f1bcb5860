// Echo with one goroutine per connection.
//
// usage: go_echo PORT [WORKERS]
package main

import (
	"net"
	"os"
	"runtime"
	"strconv"
)

func serve(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 16384)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err = conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func main() {
	if len(os.Args) > 2 {
		workers, err := strconv.Atoi(os.Args[2])
		if err != nil {
			panic(err)
		}
		runtime.GOMAXPROCS(workers)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go serve(conn)
	}
}
