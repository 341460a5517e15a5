module tidings.example/story

go 1.18
