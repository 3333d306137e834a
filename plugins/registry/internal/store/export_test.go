package store

// FillHistory is for benchmarks of what is built on the store.
var FillHistory = fillHistory
