package routetable

// Opened sets a function that is called between opening and locking the file.
func (f *File) Opened(call func()) { f.opened = call }

// SetLevels replaces the levels of attributes.
func (d *DynamoDB) SetLevels(levels map[string]int) { d.levels = levels }
