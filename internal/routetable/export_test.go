package routetable

// Opened has f called between opening a routes file and locking it.
func (f *File) Opened(call func()) { f.opened = call }
