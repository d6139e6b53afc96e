"""Declarations of ``kernels.h``."""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t

cdef extern from "kernels.h" nogil:
    double dot_f64(Py_ssize_t n, const double* x, const double* w)
    double dot_f32(Py_ssize_t n, const float* x, const double* w)
    double dot_u8(Py_ssize_t n, const uint8_t* x, const double* w)
    double dot_i8(Py_ssize_t n, const int8_t* x, const double* w)
    void add_f64(Py_ssize_t n, double a, const double* x, double* w)
    void add_f32(Py_ssize_t n, double a, const float* x, double* w)
    void add_u8(Py_ssize_t n, double a, const uint8_t* x, double* w)
    void add_i8(Py_ssize_t n, double a, const int8_t* x, double* w)
    void dots_f64(Py_ssize_t n, Py_ssize_t K, const double* x, const double* W, double* z)
    void dots_f32(Py_ssize_t n, Py_ssize_t K, const float* x, const double* W, double* z)
    void dots_u8(Py_ssize_t n, Py_ssize_t K, const uint8_t* x, const double* W, double* z)
    void dots_i8(Py_ssize_t n, Py_ssize_t K, const int8_t* x, const double* W, double* z)
    void adds_f64(Py_ssize_t n, Py_ssize_t K, const double* d, const double* x, double* W)
    void adds_f32(Py_ssize_t n, Py_ssize_t K, const double* d, const float* x, double* W)
    void adds_u8(Py_ssize_t n, Py_ssize_t K, const double* d, const uint8_t* x, double* W)
    void adds_i8(Py_ssize_t n, Py_ssize_t K, const double* d, const int8_t* x, double* W)
    double square_norm_f64(Py_ssize_t n, const double* x)
    double square_norm_f32(Py_ssize_t n, const float* x)
    double square_norm_u8(Py_ssize_t n, const uint8_t* x)
    double square_norm_i8(Py_ssize_t n, const int8_t* x)
    void read_f64(Py_ssize_t n, const double* x, double* out)
    void read_f32(Py_ssize_t n, const float* x, double* out)
    void read_u8(Py_ssize_t n, const uint8_t* x, double* out)
    void read_i8(Py_ssize_t n, const int8_t* x, double* out)
    void moments_f64(Py_ssize_t n, double s, const double* x, const double* pivot,
                     double* first, double* second, double* largest)
    void moments_f32(Py_ssize_t n, double s, const float* x, const double* pivot,
                     double* first, double* second, double* largest)
    void moments_u8(Py_ssize_t n, double s, const uint8_t* x, const double* pivot,
                    double* first, double* second, double* largest)
    void moments_i8(Py_ssize_t n, double s, const int8_t* x, const double* pivot,
                    double* first, double* second, double* largest)

    double dot_f64_i32(Py_ssize_t n, const double* x, const int32_t* column, const double* w)
    double dot_f64_i64(Py_ssize_t n, const double* x, const int64_t* column, const double* w)
    double dot_f32_i32(Py_ssize_t n, const float* x, const int32_t* column, const double* w)
    double dot_f32_i64(Py_ssize_t n, const float* x, const int64_t* column, const double* w)
    void add_f64_i32(Py_ssize_t n, double a, const double* x, const int32_t* column, double* w)
    void add_f64_i64(Py_ssize_t n, double a, const double* x, const int64_t* column, double* w)
    void add_f32_i32(Py_ssize_t n, double a, const float* x, const int32_t* column, double* w)
    void add_f32_i64(Py_ssize_t n, double a, const float* x, const int64_t* column, double* w)
    void dots_f64_i32(Py_ssize_t n, Py_ssize_t K, const double* x, const int32_t* column,
                      const double* W, double* z)
    void dots_f64_i64(Py_ssize_t n, Py_ssize_t K, const double* x, const int64_t* column,
                      const double* W, double* z)
    void dots_f32_i32(Py_ssize_t n, Py_ssize_t K, const float* x, const int32_t* column,
                      const double* W, double* z)
    void dots_f32_i64(Py_ssize_t n, Py_ssize_t K, const float* x, const int64_t* column,
                      const double* W, double* z)
    void adds_f64_i32(Py_ssize_t n, Py_ssize_t K, const double* d, const double* x,
                      const int32_t* column, double* W)
    void adds_f64_i64(Py_ssize_t n, Py_ssize_t K, const double* d, const double* x,
                      const int64_t* column, double* W)
    void adds_f32_i32(Py_ssize_t n, Py_ssize_t K, const double* d, const float* x,
                      const int32_t* column, double* W)
    void adds_f32_i64(Py_ssize_t n, Py_ssize_t K, const double* d, const float* x,
                      const int64_t* column, double* W)
    void moments_f64_i32(Py_ssize_t n, double s, const double* x, const int32_t* column,
                         double* first, double* second, double* largest)
    void moments_f64_i64(Py_ssize_t n, double s, const double* x, const int64_t* column,
                         double* first, double* second, double* largest)
    void moments_f32_i32(Py_ssize_t n, double s, const float* x, const int32_t* column,
                         double* first, double* second, double* largest)
    void moments_f32_i64(Py_ssize_t n, double s, const float* x, const int64_t* column,
                         double* first, double* second, double* largest)

    void prefetch(const void* start, Py_ssize_t n)
