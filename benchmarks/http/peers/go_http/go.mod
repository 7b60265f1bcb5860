module tinycoro/benchmarks/http

go 1.26
