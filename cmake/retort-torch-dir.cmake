# SPDX-License-Identifier: BSL-1.0
#
# Before find_package(Torch). LibTorch's package has a second one beside it, Caffe2, which holds its libraries, and looks
# for it everywhere before it looks there: where Torch_DIR names one LibTorch and the system has another, a program would
# be compiled with the headers of the first and linked with the second.
if(NOT Torch_DIR AND NOT "$ENV{Torch_DIR}" STREQUAL "")
    set(Torch_DIR "$ENV{Torch_DIR}" CACHE PATH "Folder of TorchConfig.cmake, from the environment")
endif()
if(Torch_DIR AND NOT Caffe2_DIR AND EXISTS "${Torch_DIR}/../Caffe2/Caffe2Config.cmake")
    file(REAL_PATH "${Torch_DIR}/../Caffe2" Caffe2_DIR)
    set(Caffe2_DIR "${Caffe2_DIR}" CACHE PATH "Folder of Caffe2Config.cmake, beside Torch_DIR")
endif()
