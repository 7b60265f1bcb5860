module tinycoro/benchmarks/echo

go 1.26
