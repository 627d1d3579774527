//! The record types that redo format 6 allows, by their names in the specification.

macro_rules! record_types {
    ($($name:ident = $number:literal,)*) => {
        /// A type of redo record.
        #[allow(non_camel_case_types, reason = "the names are those that InnoDB's readers know")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum RecordType { $($name = $number,)* }

        impl RecordType {
            /// `None`: no such type in format 6.
            pub fn from_number(number: u8) -> Option<RecordType> {
                match number {
                    $($number => Some(RecordType::$name),)*
                    _ => None,
                }
            }

            pub fn name(self) -> &'static str {
                match self { $(RecordType::$name => stringify!($name),)* }
            }
        }

        /// All of them.
        pub const ALL: &[RecordType] = &[$(RecordType::$name,)*];
    };
}

record_types! {
    WRITE_1BYTE = 1,
    WRITE_2BYTES = 2,
    WRITE_4BYTES = 4,
    WRITE_8BYTES = 8,
    REC_SEC_DELETE_MARK = 11,
    PAGE_CREATE_REDUNDANT = 19,
    UNDO_INSERT = 20,
    UNDO_ERASE_END = 21,
    UNDO_INIT = 22,
    UNDO_HDR_REUSE = 24,
    UNDO_HDR_CREATE = 25,
    REC_MIN_MARK_REDUNDANT = 26,
    IBUF_BITMAP_INIT = 27,
    INIT_FILE_PAGE = 29,
    WRITE_STRING = 30,
    MULTI_REC_END = 31,
    DUMMY_RECORD = 32,
    FILE_CREATE = 33,
    FILE_RENAME = 34,
    FILE_DELETE = 35,
    REC_MIN_MARK_COMPACT = 36,
    PAGE_CREATE_COMPACT = 37,
    ZIP_WRITE_NODE_PTR = 48,
    ZIP_WRITE_BLOB_PTR = 49,
    ZIP_WRITE_HEADER = 50,
    ZIP_PAGE_COMPRESS = 51,
    PAGE_CREATE_RTREE_REDUNDANT = 57,
    PAGE_CREATE_RTREE_COMPACT = 58,
    INIT_FILE_PAGE2 = 59,
    INDEX_LOAD = 61,
    TABLE_DYNAMIC_META = 62,
    PAGE_CREATE_SDI_REDUNDANT = 63,
    PAGE_CREATE_SDI_COMPACT = 64,
    FILE_EXTEND = 65,
    TEST = 66,
    REC_INSERT = 67,
    REC_CLUST_DELETE_MARK = 68,
    REC_DELETE = 69,
    REC_UPDATE_IN_PLACE = 70,
    LIST_END_COPY_CREATED = 71,
    PAGE_REORGANIZE = 72,
    ZIP_PAGE_REORGANIZE = 73,
    ZIP_PAGE_COMPRESS_NO_DATA = 74,
    LIST_END_DELETE = 75,
    LIST_START_DELETE = 76,
}
